"""One mistake in one run: what it first changed, and what the first line of the report says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from causes.catalogue import MISTAKES
from causes.differences import Difference
from causes.mistake import Mistake
from tracing.finding import Finding
from tracing.recorder import RunWriter
from workbench.faults.bench import Bench, tiny_bench
from workbench.judge.verdict import Tally
from workbench.lockstep.session.job import LockstepOptions
from workbench.lockstep.session.turns import Turn
from workbench.lockstep.staged.run import judge_turns
from workbench.lockstep.truth.reference_runner import ReferenceRunner


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of a mistake.

    Attributes:
        key, family, dtype: Which mistake, and the path's precision.
        changed: It changed something in this run; others do not count.
        expected: `step:stage:node` that it first changed, and the quantity.
        headline: `step:stage:node` of the first line, empty where nothing was found.
        rule, message, explanation: Of the first line.
        noticed, stage, node, path: Whether anything was found; whether the first line names the right stage,
            that and the right node, the right path.
        num_findings: Errors in the run, of which `num_consequences` are marked as such.
    """

    key: str
    family: str
    dtype: str
    changed: bool
    expected: str = ""
    headline: str = ""
    rule: str = ""
    message: str = ""
    explanation: str = ""
    noticed: bool = False
    stage: bool = False
    node: bool = False
    path: bool = False
    held_out: bool = False
    num_findings: int = 0
    num_consequences: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Seen:
        """Return what `as_json` wrote."""
        return cls(**data)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def measure(mistake: Mistake, bench: Bench, dtype: str) -> Seen:
    """Decode with a mistake in staged lockstep."""
    setup = bench.setup(mistake.need)
    if not mistake.need.endswith("bfloat16"):
        setup = replace(setup, dtype=dtype)
    twins = mistake.plant(setup)
    runner = ReferenceRunner(setup.pair, setup.settings, path_dtype=setup.dtype, rung=setup.rung)
    tally = Tally(chain=runner.is_chain)
    with TemporaryDirectory() as folder, RunWriter(Path(folder) / "run", {}) as writer:
        staged = judge_turns(
            twins.path(),
            runner,
            setup.pair,
            LockstepOptions(settings=setup.settings),
            [Turn(0, 0, lambda before: [*before, *setup.prompt])],
            writer=writer,
            context=setup.context,
            tally=tally,
            dtype=setup.dtype,
        )
    errors = [finding for finding in staged.log.findings if finding.severity == "error"]
    seen = Seen(
        key=mistake.key,
        family=mistake.family,
        dtype=dtype,
        changed=twins.found is not None,
        held_out=mistake.held_out,
    )
    if twins.found is None:
        return replace(seen, noticed=bool(errors), message=errors[0].message if errors else "")
    found = twins.found
    seen = replace(seen, expected=f"{twins.step}:{found.place} {found.quantity}")
    if not errors:
        return seen
    first, moment = errors[0], errors[0].moment
    right_stage = (moment.step, moment.stage) == (twins.step, found.stage)
    return replace(
        seen,
        headline=_place(moment.step, moment.stage, moment.node),
        rule=first.rule,
        message=first.message,
        explanation=first.explanation,
        noticed=True,
        stage=right_stage,
        node=right_stage and _node(first) == found.node and _names_row(first, found),
        path=_blames_the_path(first),
        num_findings=len(errors),
        num_consequences=sum(finding.consequence for finding in errors),
    )


def _blames_the_path(finding: Finding) -> bool:
    return finding.guilty == "fused"


def _node(finding: Finding) -> int | None:
    """Return the node that the first line names: that of which the explanation says that it begins there."""
    begins = re.search(r"from node (\d+) on", finding.explanation)
    return finding.moment.node if begins is None else int(begins[1])


def _names_row(finding: Finding, found: Difference) -> bool:
    """Return whether the right committed row is named, if one is meant."""
    named = re.search(r"(?:position|committed row|^row) (\d+)", finding.message)
    return found.row is None or (named is not None and int(named[1]) == found.row)


def _place(step: int, stage: str, node: int | None) -> str:
    return f"{step}:{stage}" + ("" if node is None else f":{node}")


Job = tuple[int, str]
"""Number of the mistake among `MISTAKES`, and the precision of the path."""


def one_thread() -> None:
    """Leave the other processors to the other processes."""
    import torch

    torch.set_num_threads(1)


def run(job: Job) -> Seen:
    """Measure one mistake."""
    return measure(MISTAKES[job[0]], tiny_bench(), job[1])
