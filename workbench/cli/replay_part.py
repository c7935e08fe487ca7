"""`--step`: one recorded step, or a range of them."""

from __future__ import annotations

import re

from tracing.errors import UsageError
from tracing.moment import Moment
from workbench.judge.recorded.again import Part

_RANGE = re.compile(r"(\d*):(\d*)\Z")


def parse_part(text: str | None) -> Part:
    """Read `prompt:turn:step...`, or `A:B` as step numbers of every turn, half open.

    Raises:
        UsageError: Neither.
    """
    if text is None:
        return Part()
    found = _RANGE.match(text)
    if found and any(found.groups()):
        low, high = found.groups()
        return Part(steps=(int(low or 0), int(high) if high else None))
    if text.count(":") < 2:
        raise UsageError(f"--step should be prompt:turn:step, or A:B for steps of each turn, got {text!r}")
    moment = Moment.parse(text)
    return Part(only=(moment.prompt_id, moment.turn, moment.step))
