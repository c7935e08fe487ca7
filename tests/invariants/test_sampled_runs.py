"""Laws of greedy acceptance: broken in a greedy run, not checked where tokens are sampled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from invariants.examples import CONTEXT, Before, Tree, legal_step
from invariants.mutation import Case
from tests.invariants.helpers import violated

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
