"""The cached rung as a function of values: rows of tokens that were committed before are kept, not run again.

What is kept saves time and decides nothing: a row is used again only where every value that it follows from
is the same as before, and rows of a tree are never kept. It takes what the masked rung takes, in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor

from reference import masked, teacher
from reference.experts import Routing
from reference.model import ReferenceModels
from reference.rungs import Rung
from reference.search import DraftContext, Search
from reference.teacher import TeacherRows
from reference.visible import causal
from tracing.settings import DecodeSettings
from tracing.stages import BoolArray, IntArray

MAX_MODELS: Final = 4
"""Models whose rows are kept: the truth and the samples that are drawn most."""
MAX_CONTEXTS: Final = 64
"""Contexts whose rows are kept of a model, so that requests of a batch may take turns."""
MAX_BYTES: Final = 1 << 28
"""Keys and values that are kept of a model; the last context always is."""


@dataclass(frozen=True, slots=True)
class _Rows:
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

    def rows(self, length: int) -> _Rows:
        """Return the first rows."""
        return _Rows(
            self.token_ids[:length],
            self.features[:length],
            self.kv[:, :, :, :length],
            None if self.routing is None else self.routing.rows(0, length),
            None if self.chosen is None else self.chosen[:, :length],
        )


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Rows of the last contexts, by model; the one used last stands last.

    Attributes:
        teacher, drafter: Of the teacher and of the pair's drafter.
    """

    teacher: dict[ReferenceModels, list[_Rows]] = field(default_factory=dict)
    drafter: dict[ReferenceModels, list[_Rows]] = field(default_factory=dict)

    def prefill(
        self, models: ReferenceModels, token_ids: Iterable[int], *, chosen: Tensor | None = None
    ) -> TeacherRows:
        """Return the rows of a sequence, logits of the last row."""
        tokens = tuple(int(token_id) for token_id in token_ids)
        past = self._past(models, tokens, len(tokens) - 1, chosen)
        num_past = 0 if past is None else len(past.token_ids)
        visible = causal(len(tokens), None, models.device)
        rows = teacher.forward(
            models,
            models.tokens(tokens)[num_past:],
            torch.arange(num_past, len(tokens), device=models.device),
            visible[num_past:],
            past_kv=None if past is None else past.kv,
            num_logits=1,
            chosen=None if chosen is None else chosen[:, num_past:],
        )
        if past is not None:
            window = models.teacher.windows[models.shown_layer]
            rows = TeacherRows(
                rows.logits,
                torch.cat([past.features, rows.features]),
                torch.cat([past.kv, rows.kv], dim=3),
                causal(len(tokens), window, models.device),
                _joined(past.routing, rows.routing),
            )
        _keep(self.teacher, models, _Rows(tokens, rows.features, rows.kv, rows.routing, chosen))
        return rows

    def verify(
        self,
        models: ReferenceModels,
        committed_token_ids: Iterable[int],
        token_ids: IntArray,
        position_ids: IntArray,
        visible: BoolArray,
        *,
        chosen: Tensor | None = None,
    ) -> TeacherRows:
        """Return rows of the N nodes, as `reference.masked.verify`; tokens not seen before run with them."""
        committed = tuple(int(token_id) for token_id in committed_token_ids)
        past = self._past(models, committed, len(committed), chosen)
        past_kv = None if past is None else past.kv
        rows = masked.verify_with_prefix(
            models, committed, token_ids, position_ids, visible, past_kv=past_kv, chosen=chosen
        )
        routing = _joined(None if past is None else past.routing, rows.routing)
        new = rows.features.shape[0] - len(token_ids)
        if new:
            features, kv = rows.features[:new], rows.kv[:, :, :, :new]
            if past is not None:
                features, kv = torch.cat([past.features, features]), torch.cat([past.kv, kv], dim=3)
            before = None if routing is None else routing.rows(0, len(committed))
            forced = None if chosen is None else chosen[:, : len(committed)]
            _keep(self.teacher, models, _Rows(committed, features, kv, before, forced))
        return TeacherRows(
            rows.logits, rows.features[new:], rows.kv[:, :, :, new:], rows.visible[new:], routing
        )

    def features(self, models: ReferenceModels, token_ids: Sequence[int]) -> Tensor:
        """Return the features of a sequence; nothing runs where all of its rows are kept."""
        tokens = tuple(int(token_id) for token_id in token_ids)
        past = self._past(models, tokens, len(tokens), None)
        if past is None or len(past.token_ids) < len(tokens):
            return self.prefill(models, tokens).features
        return past.features

    def begin(
        self, search: Search[Any], models: ReferenceModels, context: DraftContext, settings: DecodeSettings
    ) -> Any:
        """Return the first rows of a search; the drafter's rows of unchanged tokens and features are kept."""
        tokens = (*(int(token_id) for token_id in context.token_ids), int(context.root))
        features = torch.as_tensor(context.features).to(models.device)
        kept = _nearest(self.drafter.get(models, ()), tokens)
        if kept is not None:
            # Row j follows from tokens up to j + 1 and features up to j; the last one always runs.
            length = min(_common(kept.token_ids, tokens) - 1, len(tokens) - 2)
            length = _common_rows(kept.features, features, max(length, 0))
            if length:
                context = replace(context, past_kv=kept.kv[:, :, :, :length])
        rows = search.begin(models, context, settings)
        _keep(self.drafter, models, _Rows(tokens, features, rows.committed_kv))
        return rows

    def _past(
        self, models: ReferenceModels, tokens: Sequence[int], at_most: int, chosen: Tensor | None
    ) -> _Rows | None:
        """Return kept rows that these tokens begin with, made with the same experts."""
        kept = _nearest(self.teacher.get(models, ()), tokens)
        if kept is None:
            return None
        length = min(_common(kept.token_ids, tokens), at_most)
        length = min(length, _chosen_alike(kept.chosen, chosen, length))
        return kept.rows(length) if length else None


@dataclass(frozen=True, slots=True)
class KeptRung(Rung):
    """The cached rung over kept rows.

    Attributes:
        kept: The rows.
    """

    kept: KeptRows = field(default_factory=KeptRows)

    def features(self, models: ReferenceModels, token_ids: Sequence[int]) -> Tensor:
        """Return the tapped features of a sequence, those of kept rows where there are."""
        return self.kept.features(models, token_ids)

    def search(self, models: ReferenceModels) -> Search[Any] | None:
        """Return the beam search of the pair's drafter, which begins with kept rows; None without one."""
        own = Rung.search(self, models)
        if own is None:
            return None
        return Search(lambda *given: self.kept.begin(own, *given), own.expand)


def kept_rung() -> KeptRung:
    """Return the cached rung with nothing kept yet."""
    kept = KeptRows()
    return KeptRung("cached", kept.verify, kept.prefill, kept)


def _nearest(contexts: Sequence[_Rows], tokens: Sequence[int]) -> _Rows | None:
    """Return the context that begins with most of these tokens; of equals the one used last."""
    return max(reversed(contexts), key=lambda one: _common(one.token_ids, tokens), default=None)


def _keep(rows_of: dict[ReferenceModels, list[_Rows]], models: ReferenceModels, rows: _Rows) -> None:
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


def _joined(before: Routing | None, after: Routing | None) -> Routing | None:
    return after if before is None or after is None else before.followed_by(after)


def _chosen_alike(one: Tensor | None, other: Tensor | None, at_most: int) -> int:
    """Return how many rows two choices of experts begin with alike; None is the routers' own."""
    if one is None or other is None:
        return at_most if one is other else 0
    differs = (one[:, :at_most] != other[:, :at_most]).any(dim=-1).any(dim=0).nonzero()
    return int(differs[0]) if len(differs) else at_most


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many items two sequences begin with alike."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return next(number for number in range(length) if one[number] != other[number])


def _common_rows(one: Tensor, other: Tensor, at_most: int) -> int:
    """Return how many rows two matrices begin with alike."""
    if one.shape[1:] != other.shape[1:] or one.dtype != other.dtype:
        return 0
    differs = (one[:at_most] != other[:at_most]).any(dim=-1).nonzero()
    return int(differs[0]) if len(differs) else min(at_most, len(one), len(other))
