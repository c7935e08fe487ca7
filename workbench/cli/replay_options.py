"""What `specwb replay` was asked for, and how `--step` is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracing.errors import UsageError
from tracing.moment import Moment
from tracing.settings import RungName
from workbench.cli.decode_options import OutputFormat, step_range
from workbench.judge.recorded.rejudge import StepRange

SHIPPED: Final = "shipped"
"""In place of a directory: the shipped one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """Options of one replay.

    Attributes:
        part: Steps to judge, or the one step to continue from.
        path_name: Path to judge; None for `fused`, else the first.
        model, draft: Checkpoint folders or `shipped`; None for none.
        proposer: Kind of the drafter; None for that of the recording.
        out: Folder of the continued run; None for the recorded run's name and `-continued`.
        tie_gap, logit_gap: Without models: allowed differences in logits; None for no bound.
        allowance_factor: Without models: factor on the allowances of recorded numeric findings.
    """

    part: StepRange
    path_name: str | None
    model: str | None
    draft: str | None
    proposer: str | None
    reference: RungName
    reference_device: str
    trust_remote_code: bool
    continues: bool
    out: Path | None
    tie_gap: float | None
    logit_gap: float | None
    allowance_factor: float
    output_format: OutputFormat


def parse_part(text: str | None) -> StepRange:
    """Read `prompt:turn:step...`, or `A:B` as step numbers of every turn, half open.

    Raises:
        UsageError: Neither.
    """
    if text is None:
        return StepRange()
    steps = step_range(text)
    if steps is not None and text != ":":
        return StepRange(steps=steps)
    if text.count(":") < 2:
        raise UsageError(f"--step should be prompt:turn:step, or A:B for steps of each turn, got {text!r}")
    moment = Moment.parse(text)
    return StepRange(only=(moment.prompt_id, moment.turn, moment.step))
