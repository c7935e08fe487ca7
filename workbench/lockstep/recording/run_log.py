"""The log of a run in progress: rows of both paths, invariants over them, findings; written at once."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from invariants.catalogue import BY_ID
from invariants.context import RunContext
from invariants.outcome import Outcome, Violated
from invariants.run import Checker
from tracing.columns import COLUMN_BY_NAME
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.recorder import RunWriter, Step, Trace
from workbench.judge import fed
from workbench.judge.cause_order import Turn
from workbench.judge.log import FindingsLog, step_verdict
from workbench.judge.rules_share import rules_and_stages
from workbench.judge.share import Part
from workbench.judge.verdict import Tally
from workbench.lockstep.engine.stage_inputs import Copied, launched_differently

Row = dict[str, Any]


class RunLog(FindingsLog):
    """A log of findings that also keeps one row per path open while a step runs, checks it and closes it."""

    def __init__(
        self,
        run: RunWriter,
        traces: Mapping[str, Trace],
        checker: Checker,
        tally: Tally,
        *,
        watched: str = "fused",
    ) -> None:
        """Write into these traces; `watched` is the path whose launches are journaled and checked."""
        super().__init__(tally, run.add_finding)
        self._traces = traces
        self._watched = watched
        self._checker = checker
        self._stack = ExitStack()
        self._steps: dict[str, Step] = {}
        self._rows: dict[str, Row] = {}
        self._expected: Row = {}
        self._copied = Copied()

    def limit(self, context: RunContext) -> None:
        """Let the rules ask for these facts from now on: a request may be decoded by another drafter."""
        self._checker.context = context

    def open_step(self, prompt_id: int, turn: int, step: int) -> None:
        """Open a row on every path; one that is open stays so."""
        if self._rows.get(self._watched) == {"prompt_id": prompt_id, "turn": turn, "step": step}:
            return
        self._stack = ExitStack()
        self._expected, self._copied = {}, Copied()
        for name, trace in self._traces.items():
            self._steps[name] = self._stack.enter_context(
                trace.step(prompt_id=prompt_id, turn=turn, step=step)
            )
            self._rows[name] = {"prompt_id": prompt_id, "turn": turn, "step": step}

    def announce(self, stage: str) -> None:
        """Journal that a stage of the path under test is called; a path itself may tell nothing."""
        self._steps[self._watched].about_to_run(stage)

    def journal(self, stage: str, columns: Mapping[str, Any]) -> None:
        """Journal the inputs of a launch of the path under test; names that are no columns are left out."""
        if self._watched not in self._steps:
            return  # told between two steps, by a thread of a port for example
        known = {name: value for name, value in columns.items() if name in COLUMN_BY_NAME}
        self._steps[self._watched].about_to_run(stage, known)

    def record(self, path: str, columns: Mapping[str, Any]) -> None:
        """Add columns to the open row of a path."""
        if path in self._steps:
            self._steps[path].record(**columns)
            self._rows[path].update(columns)

    def row(self, path: str) -> Mapping[str, Any]:
        """Return the open row of a path as far as it is known."""
        return self._rows[path]

    def check_row(self, path: str) -> tuple[Finding, ...]:
        """Run the invariants over the open row of a path; a row without a tree has nothing to check."""
        row = self._rows[path]
        if row.get("token_ids") is None:
            self._checker.forget(path)
            return ()
        left_out = None if path == self._watched else fed.LIVE
        found = self._findings(self._checker.step(path, row, left_out=left_out))
        return found if path != self._watched else self._as_its_makers(found, row)

    def skip_row(self, path: str) -> None:
        """Leave a row unchecked; the next one has no previous row to be compared with."""
        self._checker.forget(path)

    def expect(self, columns: Mapping[str, Any], copied: Copied) -> None:
        """Set what later launches of this step must be given, because a stage returned it.

        Args:
            columns: What they must be given.
            copied: Columns of the draft that tensorize copied wrongly, and those it copied rightly.
        """
        self._expected.update(columns)
        self._copied = copied

    def check_before(self, stage: str, columns: Mapping[str, Any]) -> tuple[Finding, ...]:
        """Check the inputs of a launch of the path under test, with the step's row so far.

        Values that are not those of the stage before are this stage's fault, and so is a rule that only they
        violate, whatever stage the rule is about.
        """
        row = self._rows.get(self._watched)
        if row is None:
            return ()
        found = self._before(stage, {**row, **columns})
        changed = launched_differently(stage, Moment.of_row(row), columns, self._expected)
        if not changed:
            return found
        as_given = self._before(stage, {**row, **columns, **self._expected})
        return (
            *changed,
            *(
                each if each in as_given else replace(each, moment=replace(each.moment, stage=stage))
                for each in found
            ),
        )

    def _before(self, stage: str, row: Mapping[str, Any]) -> tuple[Finding, ...]:
        return self._as_its_makers(self._findings(self._checker.check_before(self._watched, stage, row)), row)

    @staticmethod
    def _findings(outcomes: Iterable[Outcome]) -> tuple[Finding, ...]:
        return tuple(finding for each in outcomes if isinstance(each, Violated) for finding in each.findings)

    def _as_its_makers(self, found: Iterable[Finding], row: Mapping[str, Any]) -> tuple[Finding, ...]:
        """Charge each law to the stage that broke it.

        Tensorize: laws of earlier stages on values that it copied as others, and laws of the mask where
        attention is given the mask that tensorize built. Draft: laws of the tree that was copied rightly, of
        nodes that are not laid out as pads.
        """
        valid = row.get("valid")
        pads = frozenset(() if valid is None else np.flatnonzero(~np.asarray(valid, bool)).tolist())
        built, given = self._expected.get("visible"), row.get("visible")
        as_built = built is not None and given is not None and np.array_equal(built, given)
        return tuple(
            replace(each, moment=replace(each.moment, stage=self._maker(each, pads, mask_as_built=as_built)))
            for each in found
        )

    def _maker(self, finding: Finding, pads: Container[int], *, mask_as_built: bool) -> str:
        stage = finding.moment.stage
        recopied = not self._copied.changed.isdisjoint(BY_ID[finding.rule].arguments)
        if stage in {"prefill", "draft"}:
            return "tensorize" if recopied else stage
        node = finding.moment.node
        is_drafted = node is not None and node < self._copied.num_nodes and node not in pads
        if (
            stage == "tensorize"
            and is_drafted
            and finding.rule.startswith("TREE")
            and finding.column in self._copied.kept
        ):
            return stage if recopied else "draft"
        is_masks = mask_as_built and finding.column == "visible" and stage == "verify"
        return "tensorize" if is_masks else stage

    def finish(self) -> None:
        """Run the rules that need the whole run; their findings are added."""
        for outcome in self._checker.finish():
            if isinstance(outcome, Violated):
                self.add(outcome.findings)

    def close_step(self, found: Iterable[Finding] = ()) -> None:
        """Finish the rows of the step with the verdict of its findings."""
        verdict = step_verdict(found)
        for path in self._steps:
            self.record(path, {"step_verdict": verdict})
        self.abandon_step()

    def abandon_step(self) -> None:
        """Finish the rows as they are, e.g. when the run ends inside the step."""
        self._stack.close()
        self._steps, self._rows = {}, {}

    def resync(self, turn: Turn | None = None) -> None:
        """After a resync the next step has no previous one, and findings are independent again."""
        for path in self._traces:
            self._checker.forget(path)
        super().resync(turn)

    def rules_and_stages(self) -> tuple[Part, Part]:
        """Return how many rules looked at a step of the path under test, and in how many stages."""
        return rules_and_stages(self._checker.counts.get(self._watched, {}), ())

    def invariant_counts(self) -> dict[str, int]:
        """Count outcomes over all rules, steps and paths."""
        return self._checker.totals()

    def unseen_rules(self) -> dict[str, int]:
        """Return the rules that never looked, by path and reason, and how often they did not."""
        return self._checker.unseen()
