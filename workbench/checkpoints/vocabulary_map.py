"""The drafter's reduced vocabulary: `d2t` and `t2d` to one absolute map.

Two conventions are written as `d2t`: offsets (`target = draft + d2t[draft]`, official, SpecForge,
speculators) and absolute ids. `t2d` (which target ids are kept) decides between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tracing.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class VocabularyMap:
    """A checked map from draft to target token ids.

    Attributes:
        target_from_draft: int64 `[Vd]`, absolute, strictly increasing.
        convention: `offset`, `absolute` or `identity` (no `d2t`, Vd == V).
        confirmed: `t2d` was there and agrees.
        ambiguous: Without `t2d` both conventions were possible; offset was taken.
    """

    target_from_draft: torch.Tensor
    convention: str
    confirmed: bool = False
    ambiguous: bool = False


def read_map(
    d2t: torch.Tensor | None, t2d: torch.Tensor | None, *, draft_vocab_size: int, vocab_size: int
) -> VocabularyMap:
    """Detect the convention of `d2t`, check it against `t2d`, return absolute ids.

    Args:
        d2t: Integer `[Vd]`, or None.
        t2d: Bool `[V]`, or None.
        draft_vocab_size: Vd, rows of the drafter's head.
        vocab_size: V of the target.

    Raises:
        CheckpointError: Names `d2t` or `t2d` and what is wrong with it.
    """
    if draft_vocab_size > vocab_size:
        raise CheckpointError(
            f"draft_vocab_size {draft_vocab_size} is larger than the target vocabulary {vocab_size}"
        )
    kept = None if t2d is None else _kept_ids(t2d, draft_vocab_size, vocab_size)
    draft_ids = torch.arange(draft_vocab_size, dtype=torch.int64)
    if d2t is None:
        if draft_vocab_size != vocab_size:
            raise CheckpointError(
                f"d2t is missing, but the drafter's head has {draft_vocab_size} rows for a target "
                f"vocabulary of {vocab_size}"
            )
        return VocabularyMap(draft_ids, "identity", confirmed=kept is not None)
    values = _checked_values(d2t, draft_vocab_size)
    if kept is not None:
        return _against_kept(values, draft_ids, kept)
    return _without_kept(values, draft_ids, vocab_size)


def _kept_ids(t2d: torch.Tensor, draft_vocab_size: int, vocab_size: int) -> torch.Tensor:
    if t2d.dtype != torch.bool and not bool(((t2d == 0) | (t2d == 1)).all()):
        raise CheckpointError(f"t2d should be boolean, got {t2d.dtype} with values other than 0 and 1")
    if tuple(t2d.shape) != (vocab_size,):
        raise CheckpointError(
            f"t2d has shape {list(t2d.shape)}, but the target vocabulary has {vocab_size} ids"
        )
    kept = torch.nonzero(t2d).flatten()
    if len(kept) != draft_vocab_size:
        raise CheckpointError(
            f"t2d keeps {len(kept)} target ids, but the drafter's head has {draft_vocab_size} rows"
        )
    return kept


def _checked_values(d2t: torch.Tensor, draft_vocab_size: int) -> torch.Tensor:
    if d2t.dtype.is_floating_point or d2t.dtype == torch.bool:
        raise CheckpointError(f"d2t should be integer, got {d2t.dtype}")
    if tuple(d2t.shape) != (draft_vocab_size,):
        raise CheckpointError(
            f"d2t has shape {list(d2t.shape)}, but the drafter's head has {draft_vocab_size} rows"
        )
    return d2t.to(torch.int64)


def _against_kept(values: torch.Tensor, draft_ids: torch.Tensor, kept: torch.Tensor) -> VocabularyMap:
    for convention, target_ids in (("offset", values + draft_ids), ("absolute", values)):
        if torch.equal(target_ids, kept):
            return VocabularyMap(target_ids.clone(), convention, confirmed=True)
    wrong = torch.nonzero(values + draft_ids != kept).flatten()
    draft_id = int(wrong[0])
    raise CheckpointError(
        f"d2t disagrees with t2d at draft id {draft_id}: d2t says target {int(values[draft_id]) + draft_id} "
        f"as an offset or {int(values[draft_id])} as an id, t2d says {int(kept[draft_id])}"
    )


def _legal(target_ids: torch.Tensor, vocab_size: int) -> bool:
    in_range = bool((target_ids >= 0).all()) and bool((target_ids < vocab_size).all())
    return in_range and bool((target_ids.diff() > 0).all())


def _without_kept(values: torch.Tensor, draft_ids: torch.Tensor, vocab_size: int) -> VocabularyMap:
    as_offset, as_absolute = _legal(values + draft_ids, vocab_size), _legal(values, vocab_size)
    if as_offset:
        return VocabularyMap(values + draft_ids, "offset", ambiguous=as_absolute and len(values) > 1)
    if as_absolute:
        return VocabularyMap(values.clone(), "absolute")
    raise CheckpointError(
        f"d2t is not a map into the {vocab_size} target ids: neither d2t + arange nor d2t itself is "
        "strictly increasing and in range"
    )
