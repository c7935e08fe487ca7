"""Two recordings whose drafts order equal scores in two ways are the same; any other difference stays one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lockstep.runs import SMALL, Setup, run
from tests.lockstep.test_equal_scores import ORDERS, use
from tests.pairs import tiny_pair
from tracing.models import ModelPair
from tracing.reader import open_run
from workbench.judge.align import Alignment, align
from workbench.judge.align_ties import chosen_by_a_tie, same_but_for_ties

Row = dict[str, Any]


def aligned(left: Path, right: Path) -> Alignment:
    return align(*(open_run(folder).path("fused").batches() for folder in (left, right)))


def with_a_twin(seed: int, token: int) -> ModelPair:
    """A pair whose drafter scores two tokens alike, one of which it likes after the root."""
    pair = tiny_pair(seed, head_dim=16)
    head = pair.drafter_weights["lm_head.weight"].clone()
    head[token + 1] = head[token]
    return replace(pair, drafter_weights={**pair.drafter_weights, "lm_head.weight": head})


def test_two_ways_of_breaking_ties_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num_ties = 0
    for seed, token in ((3, 4), (3, 10), (4, 20)):
        setup, folder = Setup(pair=with_a_twin(seed, token), settings=SMALL), tmp_path / f"{seed}-{token}"
        run(folder / "left", setup)
        with monkeypatch.context() as patched:
            use(patched, ORDERS["higher"])
            run(folder / "right", setup)
        found = aligned(folder / "left", folder / "right")
        assert found.findings() == ()
        assert found.same
        num_ties += found.num_ties
    assert num_ties > 0


def tree(order: tuple[int, ...] = (0, 1, 2, 3, 4), **changes: Any) -> Row:
    """A root, twins 1 and 2, and a child of each; `order` numbers the nodes otherwise."""
    old = np.array(order)
    new = np.argsort(old)
    parents = np.array([0, 0, 0, 1, 2])
    visible = np.eye(5, dtype=np.bool_)
    visible[:, 0] = visible[3, 1] = visible[4, 2] = True
    row = {
        "committed_len": 10,
        "token_ids": np.array([7, 5, 6, 8, 9])[old],
        "parents": new[parents][old],
        "valid": np.ones(5, dtype=np.bool_),
        "draft_logprobs": np.array([0.0, -1.0, -1.0, -1.5, -2.5], np.float32)[old],
        "cache_positions": np.arange(10, 15),
        "visible": visible[np.ix_(old, old)].reshape(-1),
        "target_token_ids": np.arange(5)[old],
        "target_top_logits": np.arange(10, dtype=np.float32).reshape(5, 2)[old].reshape(-1),
        "beam_flat_ids": old,
        "accepted_nodes": new[[2, 4]],
        "path_indices": 10 + new[[0, 2, 4]],
    }
    return row | changes


SWAPPED = (0, 2, 1, 4, 3)


def test_a_tree_in_another_order_of_equal_scores_is_the_same() -> None:
    assert same_but_for_ties(tree(), tree(SWAPPED))
    assert same_but_for_ties(tree(), tree(beam_flat_ids=np.array([0, 2, 1, 3, 4])))


@pytest.mark.parametrize(
    "change",
    [
        lambda row: {"accepted_nodes": row["accepted_nodes"][::-1]},
        lambda row: {"cache_positions": row["cache_positions"][list(SWAPPED)]},
        lambda row: {"target_token_ids": row["target_token_ids"][::-1]},
        lambda row: {"target_top_logits": row["target_top_logits"] + np.float32(0.5)},
        lambda row: {"path_indices": row["path_indices"] + 1},
        lambda row: {"visible": ~row["visible"]},
        lambda row: {"token_ids": row["token_ids"] + (row["token_ids"] == 9)},
        lambda row: {"draft_logprobs": None},
        lambda row: {"draft_logprobs": row["draft_logprobs"] - np.float32(1e-6)},
    ],
)
def test_anything_else_is_a_difference(change: Callable[[Row], Row]) -> None:
    other = tree(SWAPPED)
    assert not same_but_for_ties(tree(), other | change(other))


def test_another_order_of_unequal_scores_is_a_difference() -> None:
    scores = np.array([0.0, -1.0, -1.2, -1.5, -2.5], np.float32)
    assert not same_but_for_ties(
        tree(draft_logprobs=scores), tree(SWAPPED, draft_logprobs=scores[list(SWAPPED)])
    )


def test_another_candidate_of_the_lowest_score_is_a_choice() -> None:
    other = tree(token_ids=np.array([7, 5, 6, 8, 11]))
    assert chosen_by_a_tie(tree(), other)
    assert not chosen_by_a_tie(tree(), tree(token_ids=np.array([7, 5, 6, 12, 9])))  # not the lowest
    assert not chosen_by_a_tie(tree(), tree())
    assert not chosen_by_a_tie(tree(), other | {"committed_len": 11})
