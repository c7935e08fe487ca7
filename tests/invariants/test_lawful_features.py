"""Equal features of equal tokens are lawful: a text may repeat itself as far back as attention reaches."""

from __future__ import annotations

import pytest

from clean.runs import clean_run
from invariants.examples import Before, Tree, legal_step
from invariants.outcome import Violated
from invariants.run import check_step

ROW = legal_step(Tree([0, 0, 1], [7, 5, 7], [61, 61, 61]), Before())


def is_found(owner: int, node: int) -> bool:
    """Whether a node is found that has the feature row of its owner."""
    digests = ROW["feature_row_digests"].copy()
    digests[node] = digests[owner]
    outcomes = check_step({**ROW, "feature_row_digests": digests})
    return any(isinstance(each, Violated) and each.rule == "FEAT001" for each in outcomes)


def test_one_token_at_two_positions_may_have_equal_features() -> None:
    assert ROW["token_ids"][0] == ROW["token_ids"][2]
    assert ROW["position_ids"][0] != ROW["position_ids"][2]
    assert not is_found(0, 2)


@pytest.mark.parametrize(("owner", "node"), [(0, 1), (1, 2)])
def test_two_tokens_may_not(owner: int, node: int) -> None:
    assert is_found(owner, node)


@pytest.mark.parametrize("seed", [1026, 1047, 1170])
def test_a_text_that_repeats_itself_within_a_window_is_clean(seed: int) -> None:
    """One token over and over (FEAT001), and two in turn (FEAT002, DRAFT005)."""
    assert clean_run(seed).alarms == ()
