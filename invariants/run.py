"""Rules over steps: one step by itself, or a run in order with what must be remembered between steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from invariants.catalogue import BY_ID
from invariants.context import RunContext
from invariants.counts import Counts
from invariants.evaluate import Evaluation
from invariants.facts import Facts, facts_of
from invariants.inputs import Inputs, Row
from invariants.live import check_before
from invariants.outcome import NotChecked, Outcome, Violated
from invariants.rule import Rule
from invariants.selection import Selection
from invariants.statistics import RunStatistics

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
) -> tuple[Outcome, ...]:
    """Return what every selected step and turn rule says about one step, in catalogue order.

    Args:
        row: Columns of the step.
        previous: The step before it in the same turn.
        first: The first step of the turn.
        context: Facts of the run.
        selection: Which rules; all when None.
        path: Whose step it is.
    """
    selection = selection or Selection()
    inputs = Inputs(row, previous, first, context or RunContext(), selection.thresholds)
    evaluation = Evaluation(inputs, path, BY_ID)
    return tuple(evaluation.outcome(rule) for rule in step_rules(selection))


def step_rules(selection: Selection) -> tuple[Rule, ...]:
    """Return the selected rules that are run at each step."""
    return tuple(rule for rule in selection.rules() if rule.scope != "run")


def run_rules(selection: Selection) -> tuple[Rule, ...]:
    """Return the selected rules that are run at the end of a run."""
    return tuple(rule for rule in selection.rules() if rule.scope == "run")


@dataclass(slots=True)
class Memory:
    """What is remembered of one path."""

    statistics: RunStatistics
    turn: tuple[Any, Any] | None = None
    first: Row | None = None
    previous: Row | None = None

    def enter(self, row: Row) -> None:
        """Begin anew when the row belongs to another turn."""
        turn = (row.get("prompt_id"), row.get("turn"))
        if turn != self.turn:
            self.turn, self.first, self.previous = turn, None, None
        if row.get("step") == 0 and self.previous is None:
            self.first = row


class Checker:
    """Checks the steps of a run in order, several paths side by side.

    Attributes:
        context: Facts of the run.
        selection: Which rules, and when statistics raise an alarm.
        counts: What each selected rule said so far, by path and rule id.
    """

    def __init__(self, context: RunContext | None = None, selection: Selection | None = None) -> None:
        self.context = context or RunContext()
        self.selection = selection or Selection()
        self.counts: dict[str, dict[str, Counts]] = {}
        self._step_rules = step_rules(self.selection)
        self._run_rules = run_rules(self.selection)
        self._memories: dict[str, Memory] = {}

    def step(self, path: str, row: Row, *, left_out: Mapping[str, str] | None = None) -> tuple[Outcome, ...]:
        """Check one finished step and remember what later steps need of it.

        Args:
            path: Whose step it is, e.g. `fused`.
            row: Columns of the step; it must not change afterwards.
            left_out: Rules that mean nothing on this path, by id, and why.
        """
        memory = self._memory(path)
        memory.enter(row)
        outcomes, facts = self._judge(path, row, memory.previous, memory.first)
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

    def _judge(
        self, path: str, row: Row, previous: Row | None, first: Row | None
    ) -> tuple[tuple[Outcome, ...], Facts | None]:
        """Return what the rules say of a step, and its facts when tree and path are sound."""
        inputs = Inputs(row, previous, first, self.context, self.selection.thresholds)
        evaluation = Evaluation(inputs, path, BY_ID)
        outcomes = tuple(evaluation.outcome(rule) for rule in self._step_rules)
        sound = all(_is_sound(evaluation.outcome(BY_ID[rule_id])) for rule_id in SOUND)
        has_all = row.get("token_ids") is not None and row.get("committed_len") is not None
        return outcomes, facts_of(row) if sound and has_all else None

    def check_before(self, path: str, stage: str, columns: Row) -> tuple[Outcome, ...]:
        """Check the inputs of a stage before it is launched; nothing is remembered or counted.

        Args:
            path: Whose step it is.
            stage: The stage about to run.
            columns: What is known of the step so far; may lack the coordinates of the step.

        Returns:
            Outcomes of the rules whose inputs are all there.
        """
        memory = self._memory(path)
        turn = (columns.get("prompt_id"), columns.get("turn"))
        same_turn = turn in (memory.turn, (None, None))
        return check_before(
            stage,
            columns,
            previous=memory.previous if same_turn else None,
            first=memory.first if same_turn else None,
            context=self.context,
            selection=self.selection,
            path=path,
        )

    def forget(self, path: str) -> None:
        """Let the next step of a path begin anew, e.g. after its caches were rebuilt; statistics stay."""
        memory = self._memory(path)
        memory.turn, memory.first, memory.previous = None, None, None

    def finish(self) -> tuple[Outcome, ...]:
        """Return what the statistics rules say, path after path; call it once, at the end of the run."""
        outcomes: list[Outcome] = []
        for path, memory in self._memories.items():
            row = memory.previous or {}
            inputs = Inputs(
                row,
                context=self.context,
                thresholds=self.selection.thresholds,
                statistics=memory.statistics,
            )
            evaluation = Evaluation(inputs, path, BY_ID)
            said = tuple(evaluation.outcome(rule) for rule in self._run_rules)
            self._count(path, said)
            outcomes.extend(said)
        return tuple(outcomes)

    def totals(self) -> dict[str, int]:
        """Return `held`, `violated` and `not_checked`, summed over paths and rules."""
        every = [counts for by_rule in self.counts.values() for counts in by_rule.values()]
        return {
            "held": sum(counts.held for counts in every),
            "violated": sum(counts.violated for counts in every),
            "not_checked": sum(counts.not_checked for counts in every),
        }

    def _memory(self, path: str) -> Memory:
        return self._memories.setdefault(path, Memory(RunStatistics()))

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
