"""Where two recorded paths first differ, turn by turn, as findings to go to."""

from __future__ import annotations

from typing import Final

from tracing.finding import Finding
from tracing.path_reader import PathReader
from workbench.judge.align import align

STREAM_RULE: Final = "JUDGE-ALIGN-STREAM"


def first_differences(left: PathReader, right: PathReader) -> list[Finding]:
    """Return the first difference of each turn.

    A difference of token streams has a position and no step; where its turn has a difference of steps too,
    that one leads there, and this one is left out.
    """
    found = align(left.batches(), right.batches()).findings()
    with_step = {each.moment.place[:2] for each in found if each.rule != STREAM_RULE}
    return [each for each in found if each.rule != STREAM_RULE or each.moment.place[:2] not in with_step]
