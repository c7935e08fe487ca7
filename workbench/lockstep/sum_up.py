"""The summary of a finished run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.judge.turn_state import TurnState
from workbench.judge.verdict import RunVerdict
from workbench.lockstep.recording.run_log import RunLog
from workbench.report.summary import RunSummary

Decode = Callable[[Sequence[int]], str]


def sum_up(
    verdict: RunVerdict,
    finished: Sequence[TurnState],
    log: RunLog,
    decode: Decode,
    *,
    run: Path,
    unjudged_steps: int = 0,
    manifest: Mapping[str, Any] | None = None,
) -> RunSummary:
    """Fold the verdict, the decoded turns and the log into what reports are made from."""
    emitted = tuple(tuple(turn_state.emitted) for turn_state in finished)
    skipped = sorted({missing.stage for missing in verdict.not_checked if missing.quantity == "*"})
    remarks = [verdict.text.removeprefix(verdict.verdict).strip(" ()")]
    if skipped:
        remarks.append(f"not checked: {', '.join(skipped)}")
    return RunSummary(
        verdict=verdict.verdict,
        remark="; ".join(filter(None, remarks)),
        exit_code=verdict.exit_code,
        steps=sum(turn_state.step for turn_state in finished),
        unjudged_steps=unjudged_steps,
        emitted_token_ids=emitted,
        emitted_text=tuple(decode(turn) for turn in emitted),
        num_accepted=tuple(number for turn_state in finished for number in turn_state.num_accepted),
        near_ties=verdict.near_ties,
        findings=tuple(log.findings),
        invariants=log.invariant_counts(),
        not_checked={
            f"{missing.stage}.{missing.quantity}: {missing.reason}": count
            for missing, count in verdict.not_checked.items()
        },
        coverage=verdict.coverage,
        run=run,
        manifest=manifest or {},
    )
