"""A smaller language model as drafter in the reference: its own rows over the tokens, searched beam by beam.

Row j is token j at position j; the root's row, the last of a context, proposes the first level.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from reference import teacher
from reference.arithmetic import at_least_float32
from reference.drafters.drawn import drawn_by
from reference.drafters.seam import ReferenceDrafter, by_search
from reference.model import ReferenceModels
from reference.search import DraftAttention, DraftContext, Search
from reference.teacher import TeacherRows
from reference.visible import causal
from tracing.settings import DecodeSettings
from tracing.stages import IntArray


@dataclass(frozen=True, slots=True)
class ModelRows:
    """The live beams: the last B rows (`reference.search.Rows`).

    Attributes:
        model: The draft model in the teacher's place.
        rung: `replay`, `masked` or `cached`.
        token_ids, position_ids: Of all rows so far, int64 `[R]`; on the replay rung of the context only.
        visible: Rows that each row descends from, itself included, `[R, R]`; no window in it.
        paths: Tokens below the root of each live beam.
        logprobs: `[B, V]`.
        kv: Of all rows, `[layers, 2, kv_heads, R, D]`.
        committed_kv: Of the rows before the root's.
        seen: Never given: the teacher's attention is not opened.
    """

    model: ReferenceModels
    rung: str
    token_ids: Tensor
    position_ids: Tensor
    visible: Tensor
    paths: tuple[tuple[int, ...], ...]
    logprobs: Tensor
    kv: Tensor
    committed_kv: Tensor
    seen: DraftAttention | None = None


def in_place_of_teacher(models: ReferenceModels) -> ReferenceModels:
    """Return the draft model as the reference computes with a teacher; nothing is tapped."""
    model = copy.copy(models)
    model.pair = replace(models.pair, teacher=models.drafter, drafter=None, proposer="lookup")
    model.teacher, model.teacher_weights = models.drafter, models.drafter_weights
    model.shown_layer = 0
    return model


def begin(
    models: ReferenceModels, context: DraftContext, _settings: DecodeSettings, *, rung: str
) -> ModelRows:
    """Run the context and the root; on the cached rung only what is not cached yet."""
    model = in_place_of_teacher(models)
    tokens = model.tokens([*context.token_ids, context.root])
    positions = torch.arange(len(tokens), device=model.device)
    past_kv = context.past_kv if rung == "cached" else None
    visible = causal(len(tokens), None, model.device)
    rows, kv = _run(model, tokens, positions, visible, past_kv, num_logits=1)
    return ModelRows(model, rung, tokens, positions, visible, ((),), _logprobs(rows), kv, kv[:, :, :, :-1])


def begin_at(
    models: ReferenceModels, context: DraftContext, lengths: Sequence[int], _settings: DecodeSettings
) -> ModelRows:
    """Run the context, and behind it the root of each step that begins after one of its first lengths."""
    model = in_place_of_teacher(models)
    every = model.tokens([*context.token_ids, context.root])
    num_context, after = len(context.token_ids), torch.as_tensor(lengths, device=model.device)
    before = torch.arange(num_context, device=model.device)
    itself = torch.eye(len(lengths), dtype=torch.bool, device=model.device)
    roots_see = torch.cat([before[None, :] < after[:, None], itself], dim=1)
    context_sees = functional.pad(causal(num_context, None, model.device), (0, len(lengths)))
    tokens, positions = torch.cat([every[:-1], every[after]]), torch.cat([before, after])
    visible = torch.cat([context_sees, roots_see])
    rows, kv = _run(model, tokens, positions, visible, context.past_kv, num_logits=len(lengths))
    paths, own = tuple(() for _ in lengths), kv[:, :, :, :num_context]
    return ModelRows(model, "cached", tokens, positions, visible, paths, _logprobs(rows), kv, own)


def expand(rows: ModelRows, parent_beams: IntArray, token_ids: IntArray) -> ModelRows:
    """Append one row per beam, one position after its parent; it sees what its parent sees, and itself."""
    beams = list(zip(parent_beams.tolist(), token_ids.tolist(), strict=True))
    paths = tuple((*rows.paths[parent], token_id) for parent, token_id in beams)
    return _alone(rows, paths) if rows.rung == "replay" else _together(rows, parent_beams, paths)


def _alone(rows: ModelRows, paths: tuple[tuple[int, ...], ...]) -> ModelRows:
    """Every beam as a causal sequence of its own."""
    context = rows.token_ids.tolist()
    made = [_logprobs(teacher.prefill(rows.model, [*context, *path])) for path in paths]
    return replace(rows, paths=paths, logprobs=torch.cat(made))


def _together(rows: ModelRows, parent_beams: IntArray, paths: tuple[tuple[int, ...], ...]) -> ModelRows:
    """All beams under a dense `visible`: over cached rows, or all rows run again."""
    model, num_new = rows.model, len(paths)
    parents = len(rows.token_ids) - len(rows.paths) + torch.as_tensor(parent_beams, device=model.device)
    itself = torch.eye(num_new, dtype=torch.bool, device=model.device)
    descends = torch.cat([rows.visible[parents], itself], dim=1)
    visible = torch.cat([functional.pad(rows.visible, (0, num_new)), descends])
    tokens = torch.cat([rows.token_ids, model.tokens(path[-1] for path in paths)])
    positions = torch.cat([rows.position_ids, rows.position_ids[parents] + 1])
    past_kv = rows.kv if rows.rung == "cached" else None
    made, kv = _run(model, tokens, positions, visible, past_kv, num_logits=num_new)
    return replace(
        rows,
        token_ids=tokens,
        position_ids=positions,
        visible=visible,
        paths=paths,
        logprobs=_logprobs(made),
        kv=kv,
    )


def _run(
    model: ReferenceModels,
    tokens: Tensor,
    positions: Tensor,
    visible: Tensor,
    past_kv: Tensor | None,
    *,
    num_logits: int,
) -> tuple[TeacherRows, Tensor]:
    """Run the rows behind `past_kv`; returns them, and keys and values of all."""
    first = 0 if past_kv is None else past_kv.shape[3]
    rows = teacher.forward(
        model,
        tokens[first:],
        positions[first:],
        visible[first:],
        past_kv=past_kv,
        past_positions=positions[:first],
        num_logits=num_logits,
    )
    return rows, rows.kv if past_kv is None else torch.cat([past_kv, rows.kv], dim=3)


def _logprobs(rows: TeacherRows) -> Tensor:
    return torch.log_softmax(rows.logits.to(at_least_float32(rows.logits.dtype)), dim=-1)


SEARCHES: Final[Mapping[str, Search[Any]]] = {
    "replay": Search(partial(begin, rung="replay"), expand),
    "masked": Search(partial(begin, rung="masked"), expand),
    "cached": Search(partial(begin, rung="cached"), expand, begin_at),
}
DRAFT_MODEL: Final = ReferenceDrafter(
    by_search(SEARCHES, "draft_model"),
    score=drawn_by(SEARCHES),
    settings=("depth", "top_k", "stop_below"),
    searches=SEARCHES,
)
