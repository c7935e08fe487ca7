"""Free lockstep: each path decodes on its own outputs; the emitted streams are compared by absolute position.

Both paths decode greedily, so a different token after the same tokens is a fault or a near tie, and the truth
at that one position decides. Step columns are compared only until they first differ: a tree that differs by a
near tie inside the draft is no fault as long as the text is the same, so it is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from invariants.context import RunContext
from invariants.run import Checker
from tracing.finding import Finding
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
from workbench.lockstep.engine.user_code import UserCode
from workbench.lockstep.free.runner import FreeRunner
from workbench.lockstep.recording.run_log import RunLog
from workbench.lockstep.recording.watch import LiveWatch
from workbench.lockstep.session.turns import Tick, Turn
from workbench.lockstep.truth.reference_runner import ReferenceRunner
from workbench.lockstep.truth.ties import token_gaps

RULE = "JUDGE-ALIGN-STREAM"
CHOICE = "target_token_ids"
MAY_DIFFER = frozenset(
    {"commit_mode", "commit_fallback", "draft_top1_offsets", "launch_refused", "incomplete"}
)
"""Columns that record how a path works; two sound paths may differ in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeRun:
    """Decodes turns on two paths, one after the other, and compares their recordings.

    Attributes:
        settings: Of both paths.
        writer: The folder being written.
        context: Limits that the rules may ask for.
        tally: The verdict so far.
        runner: Decides where the paths emit different tokens.
        dtype: The tested path's dtype by name.
        watch_indices: Record which index values the path under test used.
        user_code: Calls the code of the path under test.
    """

    settings: DecodeSettings
    writer: RunWriter
    context: RunContext
    tally: Tally
    runner: ReferenceRunner
    dtype: str
    watch_indices: bool = False
    user_code: UserCode | None = None

    def run(self, path: DecodePath, reference: DecodePath, turns: Sequence[Turn], tick: Tick) -> FreeRunner:
        """Decode on both paths, then compare; return the path under test's run, with all findings."""
        checker = Checker(self.context)
        fused = self._runner_of("fused", path, checker)
        other = self._runner_of("reference", reference, checker)
        fused.run(turns, tick)
        other.run(turns, tick)
        fused.log.adopt(other.log)
        fused.log.finish()
        alignment = self._align()
        rows = open_run(self.writer.folder).path("fused")
        self.tally.add(_coverage(rows, alignment, RecordedFacts(block_size=self.settings.block_size)))
        differences = [finding for finding in alignment.findings() if finding.rule != RULE]
        fused.log.add(replace(finding, severity="warning") for finding in differences)
        states = {(one.prompt_id, one.turn): one for one in fused.finished}
        for stream in alignment.streams:
            state = states.get((stream.prompt_id, stream.turn))
            if state is not None and state.prompt:  # else it ended before this turn's text, with a finding
                fused.log.add(self._settled(stream, state))
        return fused

    def _runner_of(self, name: str, path: DecodePath, checker: Checker) -> FreeRunner:
        """Return what decodes on one path into its own log."""
        traces = {name: self.writer.path(name, lacks=path.lacks, info=dict(path.info))}
        log = RunLog(self.writer, traces, checker, self.tally, watched=name)
        watches = self.watch_indices and name == "fused"
        watch = LiveWatch(log.journal, log.check_before, refuse=True, watch_indices=watches)
        user_code = self.user_code if name == "fused" else None
        return FreeRunner(path, self.settings, self.runner.truth.pair, log, watch, user_code=user_code)

    def _align(self) -> Alignment:
        recorded = open_run(self.writer.folder)
        lacks = frozenset(
            column for entry in recorded.manifest["paths"].values() for column in entry["lacks"]
        )
        facts = self.context.model_facts
        offset = {"position_ids"} if facts is not None and facts.rotary_offset else set()
        columns = default_columns(bits=False, lacks=lacks | MAY_DIFFER | offset)
        return align(recorded.path("fused").batches(), recorded.path("reference").batches(), columns)

    def _settled(self, stream: StreamDifference, fused: TurnState) -> tuple[Finding, ...]:
        """Decide a different token by the truth at its position; nothing is found where it is a near tie."""
        prefix = [*fused.prompt, *fused.emitted][: stream.position]
        measured = token_gaps(self.runner, prefix, (stream.left, stream.right), self.dtype)
        allowance, gaps = measured.allowance, dict(zip(("fused", "reference"), measured.gaps, strict=True))
        wrong = [path for path, gap in gaps.items() if gap > allowance]
        if wrong or stream.left is None or stream.right is None:
            rows = open_run(self.writer.folder).path(wrong[0] if len(wrong) == 1 else "fused")
            return (_finding(stream, wrong, gaps, allowance, _emitted_at(rows, stream)),)
        moment, gap = Moment(stream.prompt_id, stream.turn, 0, "accept"), max(gaps.values())
        tie = NearTie(moment, "choice", stream.left, stream.right, gap, allowance, emitted=True)
        self.tally.add_near_ties((tie,))
        return ()


def _emitted_at(rows: Iterable[Mapping[str, Any]], stream: StreamDifference) -> tuple[Moment, str]:
    """Return where a path made the token at a position, and the column: who chose it, and after which node.

    The root is prefill's. Else it is the choice after a node, verify's; what is no such choice is accept's.
    """
    last = Moment(stream.prompt_id, stream.turn)
    for row in rows:
        at, length, emitted = Moment.of_row(row), row.get("committed_len"), row.get("emitted_token_ids")
        if at.place[:2] != last.place[:2] or length is None:
            continue
        last, index = at, stream.position - int(length) - 1
        if index < 0:
            return at.at("prefill", 0), "context_token_ids"
        if emitted is None or index >= len(emitted):
            continue
        path, choices = row.get("accepted_nodes"), row.get("target_token_ids")
        nodes = [0] if path is None else [0, *path.tolist()]
        node = nodes[index] if index < len(nodes) else None
        if (
            choices is not None
            and node is not None
            and 0 <= node < len(choices)
            and choices[node] == emitted[index]
        ):
            return at.at("verify", node), CHOICE
        return at.at("accept", node), "emitted_token_ids"
    return last.at("accept"), "emitted_token_ids"


def _finding(
    stream: StreamDifference,
    wrong: Sequence[str],
    gaps: Mapping[str, float],
    allowance: float,
    where: tuple[Moment, str],
) -> Finding:
    guilty = wrong[0] if len(wrong) == 1 else "both"
    chosen = ": this row is wrong, or rows that earlier stages cached" if where[1] == CHOICE else ""
    return Finding(
        verdict="structural",
        guilty=guilty,
        moment=where[0],
        column=where[1],
        fused=stream.left,
        reference=stream.right,
        allowance=allowance,
        gap=max(gaps.values()),
        rule=RULE,
        message=(
            f"after the same {stream.position} tokens the paths emit {stream.left} and {stream.right}; "
            f"rounding does not explain it{chosen}"
        ),
    )


def _coverage(rows: Iterable[Mapping[str, Any]], alignment: Alignment, facts: RecordedFacts) -> StepJudgement:
    """Coverage of the fused run, counted from its recorded rows."""
    compared = alignment.num_steps + alignment.num_turns_differing > 0
    judgement = StepJudgement(checked=("accept.emitted_token_ids",) if compared else ())
    for row, state in recorded_turns(rows, None):
        if row["emitted_token_ids"] is None or row["committed_len_after"] is None:
            continue  # a step that did not finish exercised nothing that can be counted
        judgement.coverage.update(count_step(recorded_evidence(row, None, state, facts)))
    return judgement
