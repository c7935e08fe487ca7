"""Kept rows decide nothing: whatever was asked before, the cached rung gives what the masked one gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import masked, teacher
from reference.kept import KeptRows, KeptRung, kept_rung
from reference.model import ReferenceModels
from reference.rungs import MASKED, REPLAY
from tests.expert_pairs import expert_pair
from tests.pairs import tiny_pair
from tests.reference.trees import random_tree
from tracing.models import ModelPair
from tracing.settings import DecodeSettings

CLOSE: dict[str, Any] = {"atol": 1e-10, "rtol": 0.0}
"""Sums of float64 in another order; a stale or shifted row moves a logit by more than 1e-3."""
PAIRS = [
    tiny_pair(1),
    tiny_pair(2, "qwen3", layers=3, sliding_window=4, windowed_layers=(1,), drafter_window=3),
]


def same(one: Any, other: Any) -> None:
    for name in ("logits", "features", "kv"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), **CLOSE)
    assert torch.equal(one.visible, other.visible)


@settings(max_examples=12)
@given(
    pair=st.sampled_from(PAIRS), seed=st.integers(0, 10**6), asked=st.lists(st.integers(0, 11), max_size=6)
)
def test_any_order_of_questions(pair: ModelPair, seed: int, asked: list[int]) -> None:
    """Contexts grow, shrink and change in the middle, as after an accepted path, a resync, another prompt."""
    random = np.random.default_rng(seed)
    models, kept = ReferenceModels(pair, "float64"), kept_rung()
    choice = DecodeSettings(tree_nodes=6, depth=1, top_k=2, window=pair.drafter.window)
    tokens, features = random.integers(0, 40, 12), torch.from_numpy(random.standard_normal((12, 96)))
    for number, length in enumerate([*asked, 11]):
        tokens[length // 2] = random.integers(0, 40)
        features[length // 3] = features[length // 3] * random.integers(1, 3)
        committed, own = tokens[: length + 1].tolist(), features[: length + 1].clone()
        tree = random_tree(random, 5, 6, length + 1, 40)
        given_tree = (committed, tree.token_ids, tree.position_ids, tree.visible)
        if number % 2:
            same(kept.prefill(models, committed), MASKED.prefill(models, committed))
        same(kept.verify(models, *given_tree), MASKED.verify(models, *given_tree))
        levels = MASKED.draft(models, committed, 5, own, choice).levels
        ours, theirs = (
            rung.replay_levels(models, committed, 5, own, choice, levels=levels) for rung in (kept, MASKED)
        )
        torch.testing.assert_close(ours.committed_kv, theirs.committed_kv, **CLOSE)
        torch.testing.assert_close(ours.levels[-1].row_logprobs, theirs.levels[-1].row_logprobs, **CLOSE)


def test_only_new_rows_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step after a step runs the tokens that it committed, and the tree."""
    rows, forward = list[int](), teacher.forward

    def counted(models: Any, token_ids: Any, *given: Any, **named: Any) -> Any:
        rows.append(len(token_ids))
        return forward(models, token_ids, *given, **named)

    monkeypatch.setattr(teacher, "forward", counted)
    models, kept = ReferenceModels(tiny_pair(1), "float64"), kept_rung()
    kept.prefill(models, range(20))
    for length in (20, 23, 23):
        tree = random_tree(np.random.default_rng(0), 5, 6, length, 40)
        kept.verify(models, range(length), tree.token_ids, tree.position_ids, tree.visible)
    assert rows == [20, 6, 9, 6]


def test_only_new_rows_run_where_requests_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, forward = list[int](), teacher.forward

    def counted(models: Any, token_ids: Any, *given: Any, **named: Any) -> Any:
        rows.append(len(token_ids))
        return forward(models, token_ids, *given, **named)

    monkeypatch.setattr(teacher, "forward", counted)
    models, kept = ReferenceModels(tiny_pair(1), "float64"), kept_rung()
    texts = [[*range(20)], [*range(8), *range(30, 40)], [*range(8)]]
    for length in range(10, 18):
        for text in texts:
            same(kept.prefill(models, text[:length]), MASKED.prefill(models, text[:length]))
            assert rows.pop() == len(text[:length])  # of the rung that keeps nothing
    assert rows == [10, 2, 1, *[1] * 21]
    assert isinstance(kept, KeptRung)
    assert len(kept.kept.teacher[models]) == 3


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    models, kept = ReferenceModels(tiny_pair(1), "float64"), KeptRows()
    for first in range(3):
        kept.prefill(models, [first, 2, 3])
    monkeypatch.setattr("reference.contexts.MAX_CONTEXTS", 2)
    kept.prefill(models, [9, 2, 3])
    assert [each.token_ids[0] for each in kept.teacher[models]] == [2, 9]
    monkeypatch.setattr("reference.contexts.MAX_BYTES", 1)
    kept.prefill(models, [2, 2, 3, 4])
    assert [each.token_ids for each in kept.teacher[models]] == [(2, 2, 3, 4)]


def test_a_kept_row_that_is_wrong_would_be_seen() -> None:
    """The comparison above can fail: rows of another context are not these rows."""
    models, kept = ReferenceModels(tiny_pair(1), "float64"), KeptRows()
    kept.prefill(models, [1, 2, 3])
    (rows,) = kept.teacher[models]
    kept.teacher[models] = [replace(rows, token_ids=(1, 2, 4))]
    off = kept.prefill(models, [1, 2, 4, 5]).logits - MASKED.prefill(models, [1, 2, 4, 5]).logits
    assert off.abs().max() > 1e-3


def test_rows_that_are_not_finite_are_not_kept() -> None:
    """A drafted token with a broken embedding spoils every row of its forward, and no later one."""
    pair = tiny_pair(1)
    models, kept = ReferenceModels(pair, "float64"), kept_rung()
    models.teacher_weights["model.embed_tokens.weight"][9] = torch.nan
    tree = random_tree(np.random.default_rng(0), 3, 3, 4, 8)
    broken = tree.token_ids.copy()
    broken[-1] = 9
    kept.verify(models, [1, 2, 3, 4], broken, tree.position_ids, tree.visible)
    same(
        kept.verify(models, [1, 2, 3, 4], tree.token_ids, tree.position_ids, tree.visible),
        masked.verify(models, [1, 2, 3, 4], tree.token_ids, tree.position_ids, tree.visible),
    )


def test_models_beyond_the_first_few_are_not_kept() -> None:
    kept = kept_rung()
    assert isinstance(kept, KeptRung)
    for seed in range(6):
        kept.prefill(ReferenceModels(tiny_pair(seed), "float64"), [1, 2, 3])
    assert len(kept.kept.teacher) == 4
    assert REPLAY.search(ReferenceModels(tiny_pair(1))) is not None


def test_rows_made_with_other_experts_are_not_used_again() -> None:
    """A row that ran on chosen experts differs; kept, it would spoil what follows for all others."""
    models = ReferenceModels(expert_pair())
    tokens, rung = (1, 2, 3, 4, 5), kept_rung()
    own = MASKED.prefill(models, tokens)
    assert own.routing is not None
    forced = own.routing.expert_ids.clone()
    forced[0, 2, 0] = (forced[0, 2, 0] + 1) % 4
    wanted = MASKED.prefill(models, tokens, chosen=forced)
    assert not torch.equal(wanted.kv, own.kv)
    for chosen, expected in ((None, own), (forced, wanted), (forced, wanted), (None, own)):
        made = rung.prefill(models, tokens, chosen=chosen)
        torch.testing.assert_close(made.kv, expected.kv)
        assert made.routing is not None
        assert expected.routing is not None
        assert torch.equal(made.routing.expert_ids, expected.routing.expert_ids)
