"""A drafter without a search, on both paths: two heads; a static tree, or a sampled chain."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import reference.drafters
import reference.sampling
import workbench.fused.drafters
import workbench.fused.sampling
from reference.drafters.seam import DraftScore, Proposal, ReferenceDrafter
from tests.pairs import tiny_pair
from tracing import settings as settings_module
from tracing.draws import Draws
from tracing.models import ModelPair, Taps
from tracing.sampling import Choice
from tracing.stages import Drafted
from workbench.fused.drafters.seam import DrafterKind, DrafterParts, DraftTurn

PARENTS = (0, 0, 0, 1, 1, 2)
"""Two children of the root, and three below them."""
RANKS = (0, 0, 1, 0, 1, 0)
DEPTHS = (0, 1, 1, 2, 2, 2)


@dataclass(frozen=True)
class Heads:
    """Configuration of the heads: they read what leaves the final norm."""

    taps: Taps = field(default_factory=lambda: Taps(final_hidden=True))


@dataclass
class LastRow:
    """The memory: the last hidden row and the root."""

    hidden: Any = None
    root: int = 0
    cache: None = field(default=None)

    def snapshot(self) -> LastRow:
        return replace(self)


def heads_pair(*, reads_features: bool = True) -> ModelPair:
    pair = tiny_pair(3, head_dim=16)
    torch.manual_seed(5)
    shape = (pair.teacher.vocab_size, pair.teacher.hidden_size)
    weights = {f"head.{number}": torch.randn(shape) * 0.1 for number in range(2)}
    return replace(
        pair,
        drafter=Heads(Taps(final_hidden=reads_features)),
        drafter_weights=weights,
        target_from_draft=None,
        proposer="medusa",
    )


def hidden_of(features: Tensor, head: Tensor, root: int) -> Tensor:
    """The last row; where there are no features, a row that depends on the root."""
    return features[-1] if features.shape[-1] else head[root]


class FusedHeads:
    """The drafter of the fused path."""

    def __init__(self, parts: DrafterParts) -> None:
        self.heads = [parts.pair.drafter_weights[f"head.{number}"].to(parts.dtype) for number in range(2)]

    def begin(self) -> LastRow:
        return LastRow()

    def follow(self, memory: Any, rows: Any) -> None:
        memory.root = int(rows.next_token_ids[-1])
        memory.hidden = hidden_of(rows.features, self.heads[0], memory.root)

    def draft(self, memory: Any, turn: DraftTurn) -> Drafted:
        rows = torch.stack([(head @ memory.hidden).float().log_softmax(-1) for head in self.heads])
        return sampled(memory.root, rows, turn.draws) if turn.draws else static_tree(memory.root, rows)


def static_tree(root: int, rows: Tensor) -> Drafted:
    order = rows.argsort(dim=-1, descending=True, stable=True)
    tokens, scores = [root], [0.0]
    for node in range(1, len(PARENTS)):
        head = DEPTHS[node] - 1
        tokens.append(int(order[head, RANKS[node]]))
        scores.append(scores[PARENTS[node]] + float(rows[head, tokens[-1]]))
    return Drafted(
        token_ids=np.array(tokens),
        parents=np.array(PARENTS),
        logprobs=np.array(scores, dtype=np.float32),
        proposer="medusa",
    )


def sampled(root: int, rows: Tensor, draws: Draws) -> Drafted:
    """A chain, one token a head, each from one draw."""
    tokens, scores = [root], [0.0]
    for row in rows:
        below = row.double().exp().cumsum(-1)
        tokens.append(min(int((below <= draws.take()).sum()), len(below) - 1))
        scores.append(scores[-1] + float(row[tokens[-1]]))
    return Drafted(
        token_ids=np.array(tokens),
        parents=np.arange(-1, len(rows)).clip(0),
        logprobs=np.array(scores, dtype=np.float32),
        proposer="medusa",
    )


def _rows(models: Any, context: Any) -> Tensor:
    hidden = hidden_of(models.floats(context.features), models.drafter_weights["head.0"], context.root)
    heads = [models.drafter_weights[f"head.{number}"].to(hidden) for number in range(2)]  # may be wider
    logits = [head @ hidden for head in heads]
    return torch.stack(logits).log_softmax(-1)


def _propose(models: Any, _rung: str, context: Any, _settings: Any, _watch: Any) -> Proposal:
    rows = _rows(models, context)
    made = sampled(context.root, rows, context.draws) if context.draws else static_tree(context.root, rows)
    return Proposal(made)


def _score(models: Any, _rung: str, context: Any, settings: Any, drafted: Drafted) -> DraftScore:
    rows = _rows(models, context)
    depths = np.zeros(len(drafted.parents), dtype=np.int64)
    for node, parent in enumerate(drafted.parents.tolist()[1:], start=1):
        depths[node] = depths[parent] + 1
    return DraftScore(rows, depths - 1, law=None if settings.is_greedy else rows.exp())


class Follow:
    """Samples from the teacher's law and follows the tree while it holds the drawn token."""

    def __init__(self, _: Any, draws: Draws) -> None:
        self.draws = draws

    def root(self, logits: Tensor) -> int:
        below = torch.softmax(logits.double(), dim=-1).cumsum(-1)
        return min(int((below <= self.draws.take()).sum()), len(below) - 1)

    def accept(self, tree: Any, verified: Any) -> Choice:
        path: list[int] = [0]
        while True:
            token_id = self.root(verified.logits[path[-1]])
            found = np.flatnonzero(tree.valid & (tree.parents == path[-1]) & (tree.token_ids == token_id))
            if not len(found[found > path[-1]]):
                return Choice(np.array(path), token_id)
            path.append(int(found[found > path[-1]][0]))


def install(monkeypatch: pytest.MonkeyPatch, *, scores: bool = True, is_chain: bool = False) -> None:
    """Register the drafter and a chooser on both paths; without `scores` nothing judges its scores."""
    entry = ReferenceDrafter(_propose, score=_score if scores else None, is_chain=is_chain)
    monkeypatch.setitem(reference.drafters.DRAFTERS, "medusa", entry)  # type: ignore[index]  a dict at run time
    kind = DrafterKind(FusedHeads)
    monkeypatch.setitem(workbench.fused.drafters.DRAFTERS, "medusa", kind)  # type: ignore[index]  likewise
    for module in (reference.sampling, workbench.fused.sampling):
        monkeypatch.setitem(module.CHOOSERS, "follow", Follow)
    monkeypatch.setattr(settings_module, "ACCEPTANCES", ("greedy", "follow"))
