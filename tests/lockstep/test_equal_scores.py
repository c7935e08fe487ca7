"""Candidates with equal scores are interchangeable: which of them a search keeps is no mistake.

`torch.topk` promises no order among equal values, and in half precision equal scores are common. Catches a
judge that demands the lower number of two equal candidates, and one that lets an unequal pair pass with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.lockstep.runs import SMALL, Setup, run
from tests.pairs import tiny_pair
from tracing.models import ModelPair
from tracing.stages import Drafted, Stages
from workbench.fused.drafters import search
from workbench.judge.recorded.check import check_run

TopK = Callable[[Tensor, int], tuple[Tensor, Tensor]]


def by_topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, indices = scores.topk(k, dim=1)
    return values, indices


def to_the_higher(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Ties to the higher index: the reverse of ours."""
    flipped = scores.flip(1).sort(dim=1, descending=True, stable=True)
    return flipped.values[:, :k], scores.shape[1] - 1 - flipped.indices[:, :k]


ORDERS: dict[str, TopK] = {"topk": by_topk, "higher": to_the_higher}
SHAPES = {
    "small": SMALL,
    "wide": replace(SMALL, top_k=8, depth=2, tree_nodes=30),
    "deep": replace(SMALL, top_k=3, depth=5, tree_nodes=10),
}


def with_twins(seed: int) -> ModelPair:
    """A pair whose drafter scores tokens `2i` and `2i + 1` alike: every candidate has a twin."""
    pair = tiny_pair(seed, head_dim=16)
    head = pair.drafter_weights["lm_head.weight"]
    twins = head[::2].repeat_interleave(2, dim=0)
    return replace(pair, drafter_weights={**pair.drafter_weights, "lm_head.weight": twins})


def use(monkeypatch: pytest.MonkeyPatch, top_k: TopK) -> None:
    """Let our search rank as a port does that leaves ties to its operator."""

    def best_in_order(scores: Any, num_kept: int) -> Any:
        return np.sort(top_k(torch.from_numpy(scores)[None], num_kept)[1][0].numpy())

    monkeypatch.setattr(search, "stable_top_k", top_k)
    monkeypatch.setattr(search, "best_in_order", best_in_order)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("order", ORDERS)
def test_ties_broken_another_way_are_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, dtype: str, shape: str
) -> None:
    use(monkeypatch, ORDERS[order])
    outcome = run(tmp_path / "run", Setup(pair=with_twins(3), dtype=dtype, settings=SHAPES[shape]))
    assert outcome.log.findings == []
    assert outcome.verdict.verdict in {"ok", "near_tie"}
    assert check_run(outcome.folder).findings == ()


def unequal_swap(drafted: Drafted) -> Drafted:
    """Keep the best beam that was left out instead of the last one that was kept, their scores apart."""
    levels = list(drafted.levels or ())
    kept, scores = levels[2].beam_flat_ids, levels[1].scores.ravel()
    width = levels[0].scores.size
    worse = np.flatnonzero(scores < scores[kept - width].min())
    left_out = width + worse[np.argmax(scores[worse])]
    levels[2] = replace(levels[2], beam_flat_ids=np.append(kept[:-1], left_out))
    return replace(drafted, levels=tuple(levels))


def beam_twice(drafted: Drafted) -> Drafted:
    """Keep a beam again instead of its twin: the scores are those of the best."""
    levels = list(drafted.levels or ())
    kept = levels[2].beam_flat_ids
    scores = levels[1].scores.ravel()[kept - levels[0].scores.size]
    rank = int(np.flatnonzero(np.diff(scores) == 0)[0])
    levels[2] = replace(levels[2], beam_flat_ids=np.where(np.arange(len(kept)) == rank + 1, kept[rank], kept))
    return replace(drafted, levels=tuple(levels))


def order_reversed(drafted: Drafted) -> Drafted:
    levels = list(drafted.levels or ())
    levels[2] = replace(levels[2], beam_flat_ids=levels[2].beam_flat_ids[::-1].copy())
    return replace(drafted, levels=tuple(levels))


@pytest.mark.parametrize("spoil", [unequal_swap, beam_twice, order_reversed])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_unequal_pair_among_ties_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    spoil: Callable[[Drafted], Drafted],
) -> None:
    """The near miss."""
    use(monkeypatch, by_topk)

    def fused(stages: Stages) -> Stages:
        return replace(stages, draft=lambda *given: spoil(stages.draft(*given)))

    outcome = run(
        tmp_path / "run", Setup(pair=with_twins(3), dtype=dtype, settings=SHAPES["small"]), fused=fused
    )
    assert "JUDGE-DRAFT-BEAMS" in {finding.rule for finding in outcome.log.findings}
    assert outcome.verdict.verdict == "structural"


def in_half(dtype: torch.dtype) -> Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]:
    """Candidates as a port has them that never leaves half precision: its scores have many ties."""

    def candidates(target_from_draft: Tensor, logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        scores, draft_ids = by_topk(logits.to(dtype).log_softmax(dim=-1).float(), top_k)
        return scores, target_from_draft[draft_ids]

    return candidates


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_scores_in_half_precision_are_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    use(monkeypatch, by_topk)
    monkeypatch.setattr(search, "_candidates", in_half(getattr(torch, dtype)))
    outcome = run(tmp_path / "run", Setup(dtype=dtype, settings=SHAPES["wide"]))
    assert outcome.log.findings == []
