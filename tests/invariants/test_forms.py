"""Each mutation, recorded in many forms: its rule alone reports it, and the prefilter never lets it pass."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from invariants.batch.group import groups
from invariants.batch.steps import Batch
from invariants.catalogue import CATALOGUE, CLAUSES, MUTATIONS
from invariants.mutation import Mutation
from invariants.prefilter import Clause
from tests.invariants.forms import CASES, Spoilt, spoilt_by, spoilt_cases
from tests.invariants.helpers import prefiltered, violated
from tests.invariants.pack import pack

every_mutation = pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)


@pytest.mark.parametrize("start", CASES)
def test_the_cases_are_legal(start: str) -> None:
    assert violated(CASES[start]) == []


@every_mutation
def test_its_rule_alone_reports_it_in_every_form(mutation: Mutation) -> None:
    reports = {str(each): each.broken for each in spoilt_by(mutation)}
    assert any(reports.values())
    assert {form: rules for form, rules in reports.items() if rules not in ((), (mutation.breaks,))} == {}


@every_mutation
def test_no_form_passes_the_prefilter(mutation: Mutation) -> None:
    passed = [
        str(each)
        for each in spoilt_cases()
        if each.mutation is mutation and each.broken and not prefiltered(each.rows, each.case.context)[-1]
    ]
    assert passed == []


def flagging(spoilt: Spoilt) -> frozenset[Clause]:
    """The clauses that flag the last step of a spoilt turn."""
    batch = Batch(pack(spoilt.rows), spoilt.case.context)
    if batch.misshapen().any() or spoilt.case.row.get("parents") is None:
        return frozenset()  # the loop is asked without looking
    (group,) = groups(batch, np.arange(batch.num_steps) < batch.num_steps - 1)
    found = {clause: group.arguments(clause) for clause in CLAUSES}
    return frozenset(
        clause
        for clause, arguments in found.items()
        if arguments is not None and np.any(clause.check(**arguments))
    )


@cache
def alone() -> frozenset[Clause]:
    """Clauses without which some spoilt step would pass."""
    sets = (flagging(each) for each in spoilt_cases() if each.broken)
    return frozenset(clause for clauses in sets if len(clauses) == 1 for clause in clauses)


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.name)
def test_no_clause_is_idle(clause: Clause) -> None:
    """Catches a clause that can be removed unnoticed, because others flag the same steps in every form."""
    assert clause in alone()


def test_a_clause_names_rules_of_steps() -> None:
    named = {rule_id for clause in CLAUSES for rule_id in clause.rules}
    between_requests = {"KV014"}  # looked at wherever requests take turns, see `invariants.writes`
    assert named == {rule.id for rule in CATALOGUE if rule.scope in ("step", "turn")} - between_requests
