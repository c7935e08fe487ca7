"""The cached rung as a function of values: rows of tokens that were committed before are kept, not run again.

What is kept saves time and decides nothing: a row is used again only where every value that it follows from
is the same as before, and rows of a tree are never kept. It takes what the masked rung takes, in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from reference import masked, stacked, teacher
from reference.contexts import ContextRows, chosen_alike, common, common_rows, joined, keep, nearest
from reference.model import ReferenceModels
from reference.rungs import Rung
from reference.search import DraftContext, Search
from reference.stacked import TreeAt
from reference.teacher import TeacherRows
from reference.visible import causal
from tracing.settings import DecodeSettings
from tracing.stages import BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Rows of the last contexts, by model; the one used last stands last.

    Attributes:
        teacher, drafter: Of the teacher and of the pair's drafter.
    """

    teacher: dict[ReferenceModels, list[ContextRows]] = field(default_factory=dict)
    drafter: dict[ReferenceModels, list[ContextRows]] = field(default_factory=dict)

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
                joined(past.routing, rows.routing),
            )
        keep(self.teacher, models, ContextRows(tokens, rows.features, rows.kv, rows.routing, chosen))
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
        routing = joined(None if past is None else past.routing, rows.routing)
        new = rows.features.shape[0] - len(token_ids)
        if new:
            before = None if routing is None else routing.rows(0, len(committed))
            forced = None if chosen is None else chosen[:, : len(committed)]
            made = ContextRows(committed, rows.features[:new], rows.kv[:, :, :, :new], before, forced)
            keep(self.teacher, models, made.behind(past))
        return TeacherRows(
            rows.logits, rows.features[new:], rows.kv[:, :, :, new:], rows.visible[new:], routing
        )

    def verify_stacked(
        self, models: ReferenceModels, token_ids: Sequence[int], trees: Sequence[TreeAt]
    ) -> tuple[TeacherRows, ...] | None:
        """Return the rows of several trees of one context, run at once.

        Args:
            models: A teacher without experts.
            token_ids: The longest context.
            trees: Each behind its own length of it.

        Returns:
            None where a value is not finite, which would spoil the trees that must not see it.
        """
        tokens = tuple(int(token_id) for token_id in token_ids)
        past = self._past(models, tokens, len(tokens), None)
        rows = stacked.verify(models, tokens, trees, past_kv=None if past is None else past.kv)
        if not all(bool(torch.isfinite(each.kv).all()) for each in (rows.committed, *rows.trees)):
            return None
        if len(rows.committed.features):
            made = ContextRows(tokens, rows.committed.features, rows.committed.kv)
            keep(self.teacher, models, made.behind(past))
        return rows.trees

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
        rows = search.begin(models, self._with_past(models, context), settings)
        tokens = (*map(int, context.token_ids), int(context.root))
        self._keep_drafter(models, tokens, context, rows.committed_kv)
        return rows

    def begin_at(
        self,
        search: Search[Any],
        models: ReferenceModels,
        context: DraftContext,
        lengths: Sequence[int],
        settings: DecodeSettings,
    ) -> Any:
        """Return the first rows of a search after each of several lengths of a context."""
        assert search.begin_at is not None
        rows = search.begin_at(models, self._with_past(models, context), lengths, settings)
        tokens = tuple(map(int, context.token_ids))
        self._keep_drafter(models, tokens, context, rows.committed_kv[:, :, :, : len(tokens) - 1])
        return rows

    def _with_past(self, models: ReferenceModels, context: DraftContext) -> DraftContext:
        """Return a context with the drafter's rows that are kept of it; its last one always runs."""
        tokens = (*map(int, context.token_ids), int(context.root))
        kept = nearest(self.drafter.get(models, ()), tokens)
        if kept is None:
            return context
        # Row j follows from tokens up to j + 1 and features up to j.
        length = min(common(kept.token_ids, tokens) - 1, len(tokens) - 2)
        features = torch.as_tensor(context.features).to(models.device)
        length = common_rows(kept.features, features, max(length, 0))
        return replace(context, past_kv=kept.kv[:, :, :, :length]) if length else context

    def _keep_drafter(
        self, models: ReferenceModels, tokens: tuple[int, ...], context: DraftContext, kv: Tensor
    ) -> None:
        features = torch.as_tensor(context.features).to(models.device)
        keep(self.drafter, models, ContextRows(tokens, features, kv))

    def _past(
        self, models: ReferenceModels, tokens: Sequence[int], at_most: int, chosen: Tensor | None
    ) -> ContextRows | None:
        """Return kept rows that these tokens begin with, made with the same experts."""
        kept = nearest(self.teacher.get(models, ()), tokens)
        if kept is None:
            return None
        length = min(common(kept.token_ids, tokens), at_most)
        length = min(length, chosen_alike(kept.chosen, chosen, length))
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
        begin_at = None if own.begin_at is None else partial(self.kept.begin_at, own)
        return Search(partial(self.kept.begin, own), own.expand, begin_at)

    @property
    def stacks(self) -> bool:
        """Whether `KeptRows.verify_stacked` gives what `verify` gives; not where a verify took its place."""
        return self.verify == self.kept.verify


def kept_rung() -> KeptRung:
    """Return the cached rung with nothing kept yet."""
    kept = KeptRows()
    return KeptRung("cached", kept.verify, kept.prefill, kept)
