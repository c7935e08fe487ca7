"""Legal steps are silent, and each mutation is reported by the rule that it breaks, and by no other."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from invariants.catalogue import CATALOGUE, MUTATIONS
from invariants.examples import CONTEXT
from invariants.mutation import Case, Mutation
from invariants.outcome import Violated
from invariants.run import Checker
from invariants.strategies import legal_runs, mutated_cases
from tests.invariants.helpers import prefiltered, violated


@given(legal_runs())
@settings(max_examples=40)
def test_legal_runs_are_silent(rows: list[dict[str, object]]) -> None:
    checker = Checker(CONTEXT)
    for row in rows:
        assert not [outcome for outcome in checker.step("fused", row) if isinstance(outcome, Violated)]
    assert not [outcome for outcome in checker.finish() if isinstance(outcome, Violated)]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_reported_by_its_rule_alone(mutation: Mutation) -> None:
    seen = Counter[str]()

    @given(mutated_cases(mutations=(mutation,)))
    @settings(max_examples=6)
    def check(drawn: tuple[Mutation, Case]) -> None:
        spoilt = drawn[1]
        seen.update(violated(spoilt))
        assert violated(spoilt) == [mutation.breaks]
        rows = [row for row in (spoilt.previous, *spoilt.between, spoilt.row) if row is not None]
        assert prefiltered(rows, spoilt.context)[-1], "overlooked by the prefilter"

    check()
    assert seen[mutation.breaks] >= 1


def test_every_step_and_turn_rule_has_a_mutation() -> None:
    broken = {mutation.breaks for mutation in MUTATIONS}
    assert broken == {rule.id for rule in CATALOGUE if rule.scope in ("step", "turn")}


def test_names_of_mutations_are_unique() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
