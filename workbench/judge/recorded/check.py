"""All invariants over all steps of a recorded run, block by block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from invariants.batched import BatchChecker
from invariants.catalogue import CATALOGUE
from invariants.context import RunContext
from invariants.outcome import Counts, Outcome, Violated
from invariants.selection import Selection
from tracing.errors import TraceError
from tracing.finding import Finding
from tracing.origins import Origin, origins_of, stretches
from tracing.path_reader import PathReader
from tracing.reader import Run, open_run
from tracing.recording_plan import UNDECLARED, RecordingPlan, plan_of
from workbench.judge import fed
from workbench.judge.recorded.blocks import REQUEST, Block, blocks, rebuilt_in
from workbench.judge.recorded.checked import CheckedPath, CheckedRun
from workbench.judge.recorded.context import context_of_path
from workbench.judge.recorded.flat import flat_columns
from workbench.judge.recorded.launches import LOST, OF_ENGINES, SKIPPED, CheckedLaunches, check_launches
from workbench.judge.recorded.load_warnings import load_warnings
from workbench.judge.recorded.missing import lost_steps, not_whole
from workbench.judge.recorded.pairs import Compared, compare_paths
from workbench.judge.recorded.requests import named
from workbench.judge.recorded.state import state_of
from workbench.judge.recorded.stated import with_stated
from workbench.judge.recorded.whole import WholeSteps, left_out_by
from workbench.judge.rules_share import rules_and_stages
from workbench.judge.share import Share

MAX_PER_RULE: Final = 100
"""Findings kept per rule and path; all are counted."""
GIVEN: Final = "{} was given for this check and is not in the recording"
AS_GIVEN: Final = "so it was given to attention: whether tensorize or verify built it is not recorded"
BETWEEN: Final = {
    "KV004": "draft, tensorize or another owner may have written there: no digest was recorded between them",
    "KV005": "commit moved other rows, or verify or accept wrote there: no digest was recorded between them",
}
"""What a recording cannot tell of who wrote into a cache, by rule."""


class PathCheck:
    """Checks the steps of one path, block after block, and keeps what was found.

    Args:
        name: Path name.
        context: Facts of the run.
        selection: Which rules.
        max_per_rule: Findings kept per rule; None keeps all.
        is_fed: The path owns no state: rules over state are left out, and counted so.
        plan: What the recorder declared that it would record.
    """

    def __init__(
        self,
        name: str,
        context: RunContext,
        selection: Selection,
        *,
        max_per_rule: int | None = MAX_PER_RULE,
        is_fed: bool = False,
        plan: RecordingPlan | None = None,
    ) -> None:
        plan = plan or UNDECLARED
        left_out = {**left_out_by(plan), **(fed.recorded() if is_fed else {})}
        self._left_out = {rule.id: left_out[rule.id] for rule in selection.rules() if rule.id in left_out}
        narrowed = replace(selection, ignore=(*selection.ignore, *self._left_out))
        self._checker = BatchChecker(context, narrowed)
        self._name = name
        self._limit = max_per_rule
        self._kept: Counter[str] = Counter()
        self._findings: list[Finding] = []
        self._rebuilt: list[tuple[int, int, int]] = []
        self._is_fed = is_fed
        self._context, self._narrowed, self._plan = context, narrowed, plan
        self._whole = WholeSteps(plan)
        self._of_engine = False
        self._names_requests = False

    def forget(self) -> None:
        """Let the next step begin anew: what stood before it is lost."""
        self._checker.forget(self._name)

    def block(self, block: Block) -> None:
        """Check some steps."""
        columns = flat_columns(block.table)
        self._rebuilt += rebuilt_in(columns)
        self._whole.add(block.table)
        self._of_engine |= any(block.has(name) for name in OF_ENGINES)
        self._names_requests |= block.has(REQUEST)
        for _, outcomes in self._checker.batch(self._name, columns, block.row):
            self._keep(outcomes)

    def may_name_requests(self, path: PathReader) -> bool:
        """Return whether a row of the path may name a request of an engine: a step does, or none was seen."""
        return self._names_requests or bool(path.journal.rows) or path.stream.has_other_rows

    def launches(self, path: PathReader, *, is_lost: bool) -> CheckedLaunches:
        """Check the launches of the path, its rows that are no steps included, unless some are lost."""
        reason = LOST if is_lost else SKIPPED if self._plan.every > 1 else ""
        return check_launches(path, self._context, self._narrowed, of_engine=self._of_engine, reason=reason)

    def checked(self, path: PathReader, lost: int, launches: CheckedLaunches) -> CheckedPath:
        """Run the rules that need the whole run, and return the counts of all; `lost` steps are not there."""
        self._keep(launches.outcomes)
        self._keep(self._checker.finish())
        counts = {**self._checker.counts.get(self._name, {}), **launches.counts}
        for rule_id, reason in self._left_out.items():
            counts[rule_id] = Counts(not_checked=path.num_steps, reasons=Counter({reason: path.num_steps}))
        rules, stages = rules_and_stages(counts, self._whole.recorded, self._left_out)
        return CheckedPath(
            name=self._name,
            num_steps=path.num_steps,
            counts={rule.id: counts[rule.id] for rule in CATALOGUE if rule.id in counts},
            findings=tuple(self._findings),
            in_progress=tuple(step.moment for step in path.in_progress),
            rebuilt=tuple(self._rebuilt),
            share=None if self._is_fed else Share(self._whole.part(lost), stages, rules),
        )

    def _keep(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Violated):
                room = (
                    len(outcome.findings) if self._limit is None else self._limit - self._kept[outcome.rule]
                )
                self._findings.extend(map(_as_recorded, outcome.findings[: max(room, 0)]))
                self._kept[outcome.rule] += len(outcome.findings)


def _as_recorded(finding: Finding) -> Finding:
    """Say of a mask or a cache that its maker is not known, where the recording does not have it."""
    unknown = BETWEEN.get(finding.rule, "")
    if finding.column == "visible" and finding.moment.stage == "verify":
        unknown = AS_GIVEN
    return replace(finding, message=f"{finding.message}; {unknown}") if unknown else finding


def check_run(
    folder: str | Path,
    selection: Selection | None = None,
    *,
    max_per_rule: int | None = MAX_PER_RULE,
    stated: Mapping[str, Any] = MappingProxyType({}),
) -> CheckedRun:
    """Check a recorded run, whole or damaged; damage is reported and the rest is checked.

    The two paths of a staged run are compared as well, unless only some invariants are asked for.

    Args:
        folder: The run folder.
        selection: Which rules; all when None.
        max_per_rule: Findings kept per rule and path; None keeps all.
        stated: Lawful facts that the manifest may lack, as sections of one.

    Raises:
        TraceError: The folder is no run, is of a newer version, or its manifest states impossible limits.
        UsageError: The selection names no rule, or a stated fact contradicts the manifest.
    """
    run = open_run(folder)
    run.manifest, added = with_stated(run.manifest, stated)
    selection = selection or Selection()
    plan, origins = plan_of(run.manifest), origins_of(run.manifest)
    selection.rules()
    unread: list[str] = []
    paths = tuple(
        _check_path(
            run,
            name,
            PathCheck(
                name,
                context_of_path(run, name),
                selection,
                max_per_rule=max_per_rule,
                is_fed=fed.is_fed(run, name),
                plan=plan,
            ),
            origins,
            unread,
        )
        for name in run.path_names
    )
    paths = _with_blame(paths)
    compared = _compared(run, selection, max_per_rule, unread)
    state = state_of(run, unread)
    return CheckedRun(
        folder=run.folder,
        state=state.name,
        status=run.status,
        is_damaged=state.is_damaged,
        problems=state.problems,
        paths=paths,
        compared=compared,
        not_whole=not_whole(run, state),
        warnings=(*load_warnings(run.manifest), *map(GIVEN.format, added)),
    )


def _with_blame(paths: Sequence[CheckedPath]) -> tuple[CheckedPath, ...]:
    """Blame by evidence for what is found on a path that was fed, which alone has no share."""
    own = [finding for path in paths if path.share is not None for finding in path.findings]
    return tuple(
        replace(path, findings=fed.blamed(path.findings, own)) if path.share is None else path
        for path in paths
    )


def _compared(run: Run, selection: Selection, limit: int | None, unread: list[str]) -> Compared | None:
    if selection.select:
        return Compared("only the selected invariants were asked for") if len(run.path_names) > 1 else None
    try:
        return compare_paths(run, limit)
    except TraceError as problem:
        unread.append(f"comparing paths: {problem}")
        return None


def _check_path(
    run: Run, name: str, check: PathCheck, origins: Sequence[Origin], unread: list[str]
) -> CheckedPath:
    """Check one path; a batch that cannot be unpacked ends its stretch and is reported in `unread`."""
    path = run.path(name)
    for start, stop in stretches(path, origins):
        check.forget()
        try:
            for block in blocks(path, start, stop):
                check.block(block)
        except TraceError as problem:
            unread.append(f"{path.stream.path.name}: {problem}")
    lost = lost_steps(origins, path)
    is_lost = bool(lost or unread or path.problems)
    checked = check.checked(path, lost, check.launches(path, is_lost=is_lost))
    found = named(checked.findings, run, name, recorded=check.may_name_requests(path))
    return replace(checked, findings=found)
