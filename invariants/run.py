"""Rules over steps: one step by itself, or a run in order with what must be remembered between steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from invariants.catalogue import BY_ID
from invariants.context import RunContext
from invariants.evaluate import Evaluation
from invariants.facts import Facts, facts_of
from invariants.inputs import RECORDED, Inputs, Row
from invariants.outcome import Counts, NotChecked, Outcome, Violated
from invariants.selection import Selection
from invariants.statistics import RunStatistics
from invariants.writes import Turn, WriteLog, Writes, writes_of
from tracing.errors import UsageError
from tracing.moment import STAGES

MAX_PARKED: Final = 64
"""Turns that are remembered in addition to the current one: the requests of a batch alternate in a trace."""
Step = Callable[[], "Row | None"]
Known = tuple[Step, Step]
"""The first and the last step of a turn, each when asked for: a row of a long trace is unpacked only then."""


def known(row: Row | None) -> Step:
    """Return a step that is at hand, or is not known."""
    return lambda: row


UNKNOWN: Final[Known] = (known(None), known(None))
SOUND: Final = ("ACC001", "TREE004")
"""Rules that must hold before a step counts in the statistics."""


def check_step(
    row: Row,
    *,
    previous: Row | None = None,
    first: Row | None = None,
    context: RunContext | None = None,
    selection: Selection | None = None,
    path: str = "fused",
    others: Sequence[Row] = (),
) -> tuple[Outcome, ...]:
    """Return the outcome of every selected step and turn rule for one step, in catalogue order.

    Args:
        row: Columns of the step.
        previous: The step before it in the same turn.
        first: The first step of the turn.
        context: Facts of the run.
        selection: Which rules; all when None.
        path: Whose step it is.
        others: Steps of other requests since the step before.
    """
    between = tuple(filter(None, map(writes_of, others))) or None
    return Checker(context, selection).judge(path, row, previous, first, between)[0]


def over_statistics(
    statistics: RunStatistics, *, context: RunContext | None = None, selection: Selection | None = None
) -> tuple[Outcome, ...]:
    """Return the outcome of every selected rule over a whole run, for sums that come from several runs."""
    selection = selection or Selection()
    inputs = Inputs({}, None, None, context or RunContext(), selection.thresholds, statistics)
    evaluation = Evaluation(inputs, "fused", BY_ID)
    return tuple(evaluation.outcome(rule) for rule in selection.rules() if rule.scope == "run")


@dataclass(slots=True)
class PathMemory:
    """What is remembered of one path.

    Attributes:
        statistics: Of all its steps.
        turn: Prompt and turn of the last step.
        first, previous: The first step of that turn, if it was seen, and the last.
        parked: The same of other turns, which may resume: the requests of a batch alternate in a trace.
        log: What the last steps wrote.
    """

    statistics: RunStatistics
    turn: Turn | None = None
    first: Row | None = None
    previous: Row | None = None
    parked: dict[Turn, Known] = field(default_factory=dict)
    log: WriteLog = field(default_factory=WriteLog)

    def enter(self, row: Row) -> None:
        """Resume the turn that the row belongs to, or begin one."""
        turn, begins = (row.get("prompt_id"), row.get("turn")), row.get("step") == 0
        if turn != self.turn:
            if self.turn is not None and self.previous is not None:
                self.park(self.turn, (known(self.first), known(self.previous)))
            self.turn = turn
            first, previous = self.resume(turn, begins=begins)
            self.first, self.previous = first(), previous()
        if begins and self.previous is None:
            self.first = row

    def park(self, turn: Turn, steps: Known) -> None:
        """Keep the first and the last step of a turn for when it resumes."""
        self.parked.pop(turn, None)
        self.parked[turn] = steps
        if len(self.parked) > MAX_PARKED:
            self.parked.pop(next(iter(self.parked)))

    def resume(self, turn: Turn, *, begins: bool) -> Known:
        """Return what was kept of a turn; nothing if it begins, or began longer ago than is remembered."""
        steps = self.parked.pop(turn, UNKNOWN)
        return UNKNOWN if begins else steps

    def forget(self) -> None:
        """Treat the next step as the first one seen; statistics stay."""
        self.turn, self.first, self.previous = None, None, None
        self.parked.clear()
        self.log.steps.clear()


class Checker:
    """Checks the steps of a run in order, several paths side by side.

    Attributes:
        context: Facts of the run.
        selection: Which rules, and when statistics raise an alarm.
        counts: Outcomes of each selected rule so far, by path and rule id.
    """

    def __init__(self, context: RunContext | None = None, selection: Selection | None = None) -> None:
        self.context = context or RunContext()
        self.selection = selection or Selection()
        self.counts: dict[str, dict[str, Counts]] = {}
        rules = self.selection.rules()
        self._step_rules = tuple(rule for rule in rules if rule.scope in ("step", "turn"))
        self._run_rules = tuple(rule for rule in rules if rule.scope == "run")
        self._memories: dict[str, PathMemory] = {}

    def step(self, path: str, row: Row, *, left_out: Mapping[str, str] | None = None) -> tuple[Outcome, ...]:
        """Check one finished step and remember what later steps need of it.

        Args:
            path: Whose step it is, e.g. `fused`.
            row: Columns of the step; it must not change afterwards.
            left_out: Rules that mean nothing on this path, by id, and why.

        Returns:
            One outcome per rule; none for a row that is no step (`row_kind`), which is not remembered either.
        """
        if row.get("row_kind") is not None:
            return ()
        memory = self._memory(path)
        memory.enter(row)
        turn = (row.get("prompt_id"), row.get("turn"))
        outcomes, facts = self.judge(path, row, memory.previous, memory.first, memory.log.between(turn))
        memory.log.add(turn, writes_of(row))
        if left_out:
            outcomes = tuple(
                NotChecked(each.rule, left_out[each.rule]) if each.rule in left_out else each
                for each in outcomes
            )
        if facts is not None:
            memory.statistics.add(facts)
        memory.previous = row
        self._count(path, outcomes)
        return outcomes

    def judge(
        self,
        path: str,
        row: Row,
        previous: Row | None,
        first: Row | None,
        others: tuple[Writes, ...] | None = None,
    ) -> tuple[tuple[Outcome, ...], Facts | None]:
        """Return the outcomes of the rules for a step, and its facts when tree and path are sound.

        Nothing is remembered or counted.
        """
        evaluation = self._evaluation(path, row, previous, first)
        evaluation.inputs = replace(evaluation.inputs, written_between=others)
        outcomes = tuple(evaluation.outcome(rule) for rule in self._step_rules)
        sound = all(_is_sound(evaluation.outcome(BY_ID[rule_id])) for rule_id in SOUND)
        has_all = row.get("token_ids") is not None and row.get("committed_len") is not None
        return outcomes, facts_of(row) if sound and has_all else None

    def check_before(self, path: str, stage: str, columns: Row) -> tuple[Outcome, ...]:
        """Check the inputs of a stage before it is launched; nothing is remembered or counted.

        A rule of the stage itself is among those run: `visible` is judged with verify, and exists before it.
        A rule about which columns a row has is not: the row is not finished.

        Args:
            path: Whose step it is.
            stage: The stage about to run.
            columns: What is known of the step so far; may lack the coordinates of the step.

        Returns:
            Outcomes of the rules whose inputs are all there.

        Raises:
            UsageError: There is no such stage.
        """
        if stage not in STAGES:
            raise UsageError(f"stage should be one of {', '.join(STAGES)}, got {stage!r}")
        memory, ready = self._memory(path), STAGES[: STAGES.index(stage) + 1]
        turn = (columns.get("prompt_id"), columns.get("turn"))
        same_turn = turn in (memory.turn, (None, None))
        before = (memory.previous, memory.first) if same_turn else (None, None)
        evaluation = self._evaluation(path, columns, *before)
        rules = (each for each in self._step_rules if each.stage in ready and RECORDED not in each.arguments)
        outcomes = (evaluation.outcome(rule) for rule in rules)
        return tuple(each for each in outcomes if not (isinstance(each, NotChecked) and each.missing))

    def forget(self, path: str) -> None:
        """Treat the next step of a path as the first one seen, e.g. after a rebuild; statistics stay."""
        self._memory(path).forget()

    def finish(self) -> tuple[Outcome, ...]:
        """Return the outcomes of the statistics rules, path after path; call it at the end of the run."""
        outcomes: list[Outcome] = []
        for path, memory in self._memories.items():
            evaluation = self._evaluation(path, memory.previous or {}, statistics=memory.statistics)
            found = tuple(evaluation.outcome(rule) for rule in self._run_rules)
            self._count(path, found)
            outcomes.extend(found)
        return tuple(outcomes)

    def totals(self) -> dict[str, int]:
        """Return `held`, `violated` and `not_checked`, summed over paths and rules."""
        every = [counts for by_rule in self.counts.values() for counts in by_rule.values()]
        return {
            "held": sum(counts.held for counts in every),
            "violated": sum(counts.violated for counts in every),
            "not_checked": sum(counts.not_checked for counts in every),
        }

    def unseen(self) -> dict[str, int]:
        """Return the rules that never looked, by path and reason, and how often they did not."""
        rules: dict[tuple[str, str], list[str]] = {}
        for path, by_rule in self.counts.items():
            for rule_id, counts in by_rule.items():
                if counts.not_checked and not counts.looked:
                    rules.setdefault((path, counts.main_reason), []).append(rule_id)
        return {
            f"{path} {', '.join(ids)}: {reason}": sum(self.counts[path][each].not_checked for each in ids)
            for (path, reason), ids in rules.items()
        }

    def _evaluation(
        self,
        path: str,
        row: Row,
        previous: Row | None = None,
        first: Row | None = None,
        statistics: RunStatistics | None = None,
    ) -> Evaluation:
        inputs = Inputs(row, previous, first, self.context, self.selection.thresholds, statistics)
        return Evaluation(inputs, path, BY_ID)

    def _memory(self, path: str) -> PathMemory:
        return self._memories.setdefault(path, PathMemory(RunStatistics()))

    def _count(self, path: str, outcomes: tuple[Outcome, ...], times: int = 1) -> None:
        counts = self.counts.setdefault(path, {})
        for outcome in outcomes:
            counts.setdefault(outcome.rule, Counts()).add(outcome, times)


def _is_sound(outcome: Outcome) -> bool:
    """Return whether a rule held, or had nothing to look at."""
    match outcome:
        case Violated():
            return False
        case NotChecked(vacuous=vacuous):
            return vacuous
        case _:
            return True
