"""Free lockstep: each path decodes on its own outputs; the emitted streams are compared by absolute position.

Both paths decode greedily, so a different token after the same tokens is a fault or a near tie, and the truth
at that one position decides. Step columns are compared only until they first differ: a tree that differs by a
near tie inside the draft is no fault as long as the text is the same, so it is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from invariants.run import Checker
from tracing.finding import Finding
from tracing.models import ModelPair
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath
from workbench.judge.align import Alignment, StreamDifference, align
from workbench.judge.align_columns import default_columns
from workbench.judge.coverage import count_step
from workbench.judge.notes import NearTie
from workbench.judge.recorded.evidence import RecordedFacts, recorded_evidence
from workbench.judge.step import StepJudgement
from workbench.judge.turn_state import TurnState, recorded_turns
from workbench.judge.verdict import Tally
from workbench.lockstep.free.runner import FreeRunner
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.recording.watch import LiveWatch
from workbench.lockstep.session.turns import Turn
from workbench.lockstep.truth.reference_runner import ReferenceRunner
from workbench.lockstep.truth.ties import token_gaps

Tick = Callable[[int], None]
RULE = "JUDGE-ALIGN-STREAM"
MAY_DIFFER = frozenset(
    {"commit_mode", "commit_fallback", "draft_top1_offsets", "launch_refused", "incomplete"}
)
"""Columns that record how a path works; two sound paths may differ in them."""


class FreeRun:
    """Decodes the turns on each path, one after the other, and compares their recordings.

    Attributes:
        runs: Of the path under test and of the reference.
        logs: Of each run; the first one ends up with everything that was found.
    """

    def __init__(
        self,
        paths: Sequence[DecodePath],
        pair: ModelPair,
        settings: DecodeSettings,
        *,
        writer: RunWriter,
        checker: Checker,
        tally: Tally,
        watch_indices: bool = False,
    ) -> None:
        """Prepare both runs; `watch_indices` is for the path under test only."""
        self._writer = writer
        self._block_size = settings.block_size
        self._tally = tally
        self.logs: list[RunLog] = []
        self.runs: list[FreeRunner] = []
        for name, path in zip(("fused", "reference"), paths, strict=True):
            traces = {name: writer.path(name, lacks=path.lacks, info=dict(path.info))}
            log = RunLog(writer, traces, checker, tally, watched=name)
            watch = LiveWatch(
                log.journal,
                log.check_before,
                refuse=True,
                watch_indices=watch_indices and name == "fused",
            )
            self.logs.append(log)
            self.runs.append(FreeRunner(path, settings, pair, log, watch))

    def run(self, turns: Sequence[Turn], runner: ReferenceRunner, dtype: str, tick: Tick) -> None:
        """Decode on both paths, then compare."""
        for run in self.runs:
            run.run(turns, tick)
        log = self.logs[0]
        log.adopt(self.logs[1])
        log.finish()
        alignment = self._align()
        rows = open_run(self._writer.folder).path("fused")
        self._tally.add(_coverage(rows, alignment, RecordedFacts(block_size=self._block_size)))
        differences = [_warning(finding) for finding in alignment.findings() if finding.rule != RULE]
        log.add(differences)
        fused = {(one.prompt_id, one.turn): one for one in self.runs[0].finished}
        for stream in alignment.streams:
            self._settle(stream, fused[stream.prompt_id, stream.turn], runner, dtype)

    def _align(self) -> Alignment:
        recorded = open_run(self._writer.folder)
        lacks = frozenset(
            column for entry in recorded.manifest["paths"].values() for column in entry["lacks"]
        )
        columns = default_columns(bits=False, lacks=lacks | MAY_DIFFER)
        return align(recorded.path("fused").batches(), recorded.path("reference").batches(), columns)

    def _settle(
        self, stream: StreamDifference, fused: TurnState, runner: ReferenceRunner, dtype: str
    ) -> None:
        """Decide a different token by the truth at its position."""
        text = [*fused.prompt, *fused.emitted]
        prefix = text[: stream.position]
        measured = token_gaps(runner, prefix, (stream.left, stream.right), dtype)
        allowance, gaps = measured.allowance, dict(zip(("fused", "reference"), measured.gaps, strict=True))
        wrong = [path for path, gap in gaps.items() if gap > allowance]
        moment = Moment(stream.prompt_id, stream.turn, 0, "accept")
        if not wrong and stream.left is not None and stream.right is not None:
            gap = max(gaps.values())
            tie = NearTie(moment, "choice", stream.left, stream.right, gap, allowance, emitted=True)
            self._tally.add_near_ties((tie,))
            return
        self.logs[0].add([_finding(stream, wrong, gaps, allowance)])


def _finding(
    stream: StreamDifference, wrong: Sequence[str], gaps: Mapping[str, float], allowance: float
) -> Finding:
    guilty = wrong[0] if len(wrong) == 1 else "both"
    return Finding(
        verdict="structural",
        guilty=guilty,
        moment=Moment(stream.prompt_id, stream.turn, 0, "accept"),
        column="emitted_token_ids",
        fused=stream.left,
        reference=stream.right,
        allowance=allowance,
        gap=max(gaps.values()),
        rule=RULE,
        message=(
            f"after the same {stream.position} tokens the paths emit {stream.left} and {stream.right}; "
            "rounding does not explain it"
        ),
    )


def _warning(finding: Finding) -> Finding:
    return replace(finding, severity="warning")


def _coverage(rows: Iterable[Mapping[str, Any]], alignment: Alignment, facts: RecordedFacts) -> StepJudgement:
    """Coverage of the fused run, counted from its recorded rows."""
    compared = alignment.num_steps + alignment.num_turns_differing > 0
    judgement = StepJudgement(checked=("accept.emitted_token_ids",) if compared else ())
    for row, state in recorded_turns(rows, None):
        if row["emitted_token_ids"] is None or row["committed_len_after"] is None:
            continue  # a step that did not finish exercised nothing that can be counted
        judgement.coverage.update(count_step(recorded_evidence(row, None, state, facts)))
    return judgement
