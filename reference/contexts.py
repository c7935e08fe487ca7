"""Rows of contexts that were run before, and which of them a new context may use again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from reference.experts import Routing
from reference.model import ReferenceModels

MAX_MODELS: Final = 4
"""Models whose rows are kept: the truth and the samples that are drawn most."""
MAX_CONTEXTS: Final = 64
"""Contexts whose rows are kept of a model, so that requests of a batch may take turns."""
MAX_BYTES: Final = 1 << 28
"""Keys and values that are kept of a model; the last context always is."""


@dataclass(frozen=True, slots=True)
class ContextRows:
    """Rows of a context.

    Attributes:
        token_ids: Tokens that they follow from.
        features: Of the teacher's rows, or what the drafter's were made from, `[S, F]`.
        kv: Keys and values, `[layers, 2, kv_heads, S, D]`.
        routing: Of the teacher's rows, None without experts.
        chosen: Experts that had to work on them, `[layers, S, num_groups]`; None where the router chose.
    """

    token_ids: tuple[int, ...]
    features: Tensor
    kv: Tensor
    routing: Routing | None = None
    chosen: Tensor | None = None

    def rows(self, length: int) -> ContextRows:
        """Return the first rows."""
        return ContextRows(
            self.token_ids[:length],
            self.features[:length],
            self.kv[:, :, :, :length],
            None if self.routing is None else self.routing.rows(0, length),
            None if self.chosen is None else self.chosen[:, :length],
        )

    def behind(self, past: ContextRows | None) -> ContextRows:
        """Return the same with features and keys and values of the rows before them."""
        if past is None:
            return self
        features, kv = torch.cat([past.features, self.features]), torch.cat([past.kv, self.kv], dim=3)
        return replace(self, features=features, kv=kv)


def nearest(contexts: Sequence[ContextRows], tokens: Sequence[int]) -> ContextRows | None:
    """Return the context that begins with most of these tokens; of equals the one used last."""
    return max(reversed(contexts), key=lambda one: common(one.token_ids, tokens), default=None)


def keep(
    rows_of: dict[ReferenceModels, list[ContextRows]], models: ReferenceModels, rows: ContextRows
) -> None:
    """Keep finite rows: where a tree has none, 0 times a value that is not finite spoils those before it.

    A context that the new one goes on from is no longer needed.
    """
    if not (models in rows_of or len(rows_of) < MAX_MODELS) or not bool(torch.isfinite(rows.kv).all()):
        return
    length = len(rows.token_ids)
    kept = [
        each
        for each in rows_of.get(models, ())
        if len(each.token_ids) > length or each.token_ids != rows.token_ids[: len(each.token_ids)]
    ]
    kept.append(rows)
    while len(kept) > 1 and (len(kept) > MAX_CONTEXTS or sum(each.kv.nbytes for each in kept) > MAX_BYTES):
        kept.pop(0)
    rows_of[models] = kept


def joined(before: Routing | None, after: Routing | None) -> Routing | None:
    """Return the routing of rows and of those after them; of the latter where the former have none."""
    return after if before is None or after is None else before.followed_by(after)


def chosen_alike(one: Tensor | None, other: Tensor | None, at_most: int) -> int:
    """Return how many rows two choices of experts begin with alike; None is the routers' own."""
    if one is None or other is None:
        return at_most if one is other else 0
    differs = (one[:, :at_most] != other[:, :at_most]).any(dim=-1).any(dim=0).nonzero()
    return int(differs[0]) if len(differs) else at_most


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many items two sequences begin with alike."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return next(number for number in range(length) if one[number] != other[number])


def common_rows(one: Tensor, other: Tensor, at_most: int) -> int:
    """Return how many rows two matrices begin with alike."""
    if one.shape[1:] != other.shape[1:] or one.dtype != other.dtype:
        return 0
    differs = (one[:at_most] != other[:at_most]).any(dim=-1).nonzero()
    return int(differs[0]) if len(differs) else min(at_most, len(one), len(other))
