"""Laws of greedy acceptance: broken in a greedy run, not checked where tokens are sampled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from invariants.examples import CONTEXT, Before, Tree, legal_step
from invariants.mutation import Case
from tests.invariants.helpers import held, violated
from tests.invariants.sampled_cases import NEAR_MISSES, other_engines, sampled_among_greedy
from tracing.run_facts import SamplingSettings

ROW = legal_step(Tree([0, 0, 0, 1, 1, 3], [7, 5, 6, 8, 9, 11], [5, 8, 3, 61, 4, 9], num_pads=2), Before())
BROKEN = {
    "ACC002": {"target_token_ids": ROW["target_token_ids"] + 1},
    "ACC003": {"accepted_nodes": ROW["accepted_nodes"][:-1]},
    "ACC004": {"final_token_id": ROW["final_token_id"] + 1},
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_law_of_greedy_acceptance_is_not_held_against_draws(rule: str) -> None:
    row = {**ROW, **BROKEN[rule]}
    assert rule in violated(Case(row, CONTEXT, None, row))
    sampled = replace(CONTEXT, acceptance="follow")
    assert rule not in violated(Case(row, sampled, None, row))


@pytest.mark.parametrize("name", other_engines())
def test_no_form_of_another_engine_is_held_against_it(name: str) -> None:
    found = [rule for rule in violated(other_engines()[name]) if rule.startswith(("SAMP", "ACC"))]
    assert not found


def test_a_greedy_request_beside_a_sampled_one_is_held_to_the_choices() -> None:
    case = sampled_among_greedy()
    greedy = case.edited(request_id="g", row_temperature=0.0)
    assert violated(greedy) == ["ACC004"]
    wrongly_sampled = case.edited(request_id="g")
    assert violated(wrongly_sampled) == ["ACC004", "SAMP003"]


def test_what_settings_of_the_manifest_say_counts_where_the_row_says_nothing() -> None:
    wrong = NEAR_MISSES["SAMP008"]().in_run(request_sampling={})
    assert "SAMP008" not in [*held(wrong), *violated(wrong)]
    stated = SamplingSettings(temperature=2.0, top_k=2, acceptance="match")
    assert "SAMP008" in held(wrong.in_run(request_sampling={"": stated}))
    other = replace(stated, temperature=1.0)
    assert "SAMP008" in violated(wrong.in_run(request_sampling={"": other}))
