"""Mutations of visibility, indices, logits and features."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from invariants.ancestry import ancestor_or_self
from invariants.mutations.case import Case, Mutation, NoPlaceError, Pick
from invariants.rule import BoolArray


def _non_ancestor_shown(case: Case, pick: Pick) -> Case:
    live = [0, *case.drafts]
    return case.poked("visible", pick([(q, k) for q in live for k in live if k not in case.path(q)]), True)


def _ancestor_hidden(case: Case, pick: Pick) -> Case:
    return case.poked("visible", pick([(q, k) for q in case.drafts for k in case.path(q)[1:-1]]), False)


def _self_hidden(case: Case, pick: Pick) -> Case:
    node = pick([each for each in [0, *case.drafts] if case.drafts])
    return case.poked("visible", (node, node), False)


def _root_hidden(case: Case, pick: Pick) -> Case:
    return case.poked("visible", (pick(case.drafts), 0), False)


def _block(case: Case) -> tuple[Any, BoolArray]:
    """Return the index of the valid block, and the block."""
    if not case.drafts:
        raise NoPlaceError("only a root")
    block = np.ix_(case.row["valid"], case.row["valid"])
    return block, ancestor_or_self(case.row["parents"], case.row["valid"])[block]


def _inverted(case: Case, _: Pick) -> Case:
    place, block = _block(case)
    return case.poked("visible", place, ~block)


def _transposed(case: Case, _: Pick) -> Case:
    place, block = _block(case)
    return case.poked("visible", place, block.T)


def _replaced(case: Case, shown: BoolArray) -> Case:
    """Put another block in place of the closure; only where at least two cells then differ."""
    place, block = _block(case)
    if np.count_nonzero(block != shown) < 2:
        raise NoPlaceError("nearly the same mask")
    return case.poked("visible", place, shown)


def _plainly_causal(case: Case, _: Pick) -> Case:
    return _replaced(case, np.tri(len(case.drafts) + 1, dtype=np.bool_))


def _no_mask_at_all(case: Case, _: Pick) -> Case:
    return _replaced(case, np.ones((len(case.drafts) + 1,) * 2, dtype=np.bool_))


def _one_column_right(case: Case, _: Pick) -> Case:
    place, block = _block(case)
    if len(block) < 3:
        raise NoPlaceError("too small a tree")
    shifted = np.zeros_like(block)
    shifted[:, 1:] = block[:, :-1]
    return case.poked("visible", place, shifted)


def _prefix_cut_short(case: Case, pick: Pick) -> Case:
    return case.poked("prefix_visible", pick([0, *case.drafts]), case.row["committed_len"] - 1)


def _stale_row_shown(case: Case, pick: Pick) -> Case:
    return case.poked("other_visible", pick([0, *case.drafts]), 1)


def _pad_shown(case: Case, pick: Pick) -> Case:
    return case.poked("visible", (pick([0, *case.drafts] if case.pads else []), case.pads[-1]), True)


def _pad_looks(case: Case, pick: Pick) -> Case:
    return case.poked("visible", (pick(case.pads), 0), True)


def _index_at_bound(case: Case, _: Pick) -> Case:
    return case.edited(index_sites=[{"site": "rope", "min": 0, "max": 512, "bound": 512}])


def _sentinel_used(case: Case, _: Pick) -> Case:
    return case.edited(index_sites=[{"site": "kv_scatter", "min": -1, "max": 8, "bound": 512}])


def _token_past_vocabulary(case: Case, pick: Pick) -> Case:
    return case.poked("token_ids", pick([*case.leaves, *case.pads]), case.context.vocab_size)


def _choice_is_filler(case: Case, pick: Pick) -> Case:
    node = pick(case.bystanders)
    case = case.poked("target_token_ids", node, -1)
    return case.poked("target_top_ids", (node, 0), -1)


def _logit_nan(case: Case, pick: Pick) -> Case:
    return case.poked("target_top_logits", (pick([0, *case.drafts]), 1), np.nan)


def _second_best_chosen(case: Case, pick: Pick) -> Case:
    node = pick([0, *case.drafts])
    return case.poked("target_top_ids", node, np.roll(case.row["target_top_ids"][node], 1))


def _tie_to_the_higher(case: Case, pick: Pick) -> Case:
    node = pick([0, *case.drafts])
    case = case.poked("target_top_ids", (node, 1), case.row["target_token_ids"][node] - 1)
    return case.poked("target_top_logits", (node, 1), case.row["target_top_logits"][node, 0])


def _one_logit_row_for_all(case: Case, _: Pick) -> Case:
    if len(case.drafts) < 2 or len(set(case.row["token_ids"][[0, *case.drafts]].tolist())) < 2:
        raise NoPlaceError("too small a tree")
    columns = ("target_token_ids", "target_top_ids", "target_top_logits")
    same = {name: np.repeat(case.row[name][:1], len(case.row["parents"]), axis=0) for name in columns}
    return case.edited(**same).reaccepted()


def _copied_row(case: Case, pick: Pick, column: str, places: list[int]) -> Case:
    """Give a node the digest of another node that has another token or position."""
    tokens, positions = case.row["token_ids"], case.row["position_ids"]
    pairs = [
        (a, b)
        for a in [0, *case.drafts]
        for b in places
        if (tokens[a], positions[a]) != (tokens[b], positions[b])
    ]
    source, target = pick(pairs)
    return case.poked(column, target, case.row[column][source])


def _feature_copied(case: Case, pick: Pick) -> Case:
    return _copied_row(case, pick, "feature_row_digests", case.drafts)


def _kv_row_copied(case: Case, pick: Pick) -> Case:
    return _copied_row(case, pick, "kv_row_digests", case.bystanders)


def _feature_left_over(case: Case, pick: Pick) -> Case:
    if case.previous is None:
        raise NoPlaceError("no previous step")
    digest = pick(case.previous["feature_row_digests"][:1].tolist())
    return case.poked("feature_row_digests", pick([0, *case.drafts]), digest)


MUTATIONS: Final = (
    Mutation("non-ancestor-shown", "MASK001", _non_ancestor_shown),
    Mutation("ancestor-hidden", "MASK002", _ancestor_hidden),
    Mutation("self-hidden", "MASK003", _self_hidden),
    Mutation("root-hidden", "MASK004", _root_hidden),
    Mutation("mask-inverted", "MASK005", _inverted),
    Mutation("mask-transposed", "MASK006", _transposed),
    Mutation("mask-plainly-causal", "MASK007", _plainly_causal),
    Mutation("mask-not-there", "MASK007", _no_mask_at_all),
    Mutation("mask-one-column-right", "MASK008", _one_column_right),
    Mutation("prefix-cut-short", "MASK009", _prefix_cut_short),
    Mutation("stale-row-shown", "MASK010", _stale_row_shown),
    Mutation("pad-shown", "MASK011", _pad_shown),
    Mutation("pad-looks", "MASK011", _pad_looks),
    Mutation("index-at-bound", "IDX001", _index_at_bound),
    Mutation("sentinel-used", "IDX002", _sentinel_used),
    Mutation("token-past-vocabulary", "IDX003", _token_past_vocabulary),
    Mutation("choice-is-filler", "IDX004", _choice_is_filler),
    Mutation("logit-nan", "LOGIT001", _logit_nan),
    Mutation("second-best-chosen", "LOGIT002", _second_best_chosen),
    Mutation("tie-to-the-higher-id", "LOGIT002", _tie_to_the_higher),
    Mutation("one-logit-row-for-all", "LOGIT003", _one_logit_row_for_all),
    Mutation("feature-row-copied", "FEAT001", _feature_copied),
    Mutation("feature-row-left-over", "FEAT002", _feature_left_over),
    Mutation("kv-row-copied", "KV008", _kv_row_copied),
)
