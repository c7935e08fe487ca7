"""Mutations of acceptance, stops, lengths and commit."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.mutations.case import Case, Mutation, NoPlaceError, Pick
from tracing.digest import chain


def _path_jumps(case: Case, pick: Pick) -> Case:
    parents = case.row["parents"]
    before = case.accepted[-2] if len(case.accepted) > 1 else 0
    stranger = pick([node for node in case.drafts if parents[node] != before])
    return case.edited(accepted_nodes=np.array([*case.accepted[:-1], stranger], dtype=np.int32))


def _pad_accepted(case: Case, pick: Pick) -> Case:
    return case.edited(accepted_nodes=np.array([*case.accepted, pick(case.pads)], dtype=np.int32))


def _filler_accepted(case: Case, pick: Pick) -> Case:
    return case.edited(
        accepted_nodes=np.array([*case.accepted, pick([-1, len(case.row["valid"])])], dtype=np.int32)
    )


def _unchosen_accepted(case: Case, pick: Pick) -> Case:
    node = pick(case.accepted)
    parent = case.row["parents"][node]
    token = _other_token(case, case.row["token_ids"][node])
    case = case.poked("target_token_ids", parent, token)
    return case.poked("target_top_ids", (parent, 0), token)


def _other_token(case: Case, token: int) -> int:
    """Return an ordinary token that no row's best tokens hold."""
    taken = {int(token), *case.row["target_top_ids"].ravel().tolist(), *case.row["token_ids"].tolist()}
    taken |= set(case.context.eos_token_ids or ())
    return next(each for each in range(96, 0, -1) if each not in taken)


def _stopped_one_short(case: Case, _: Pick) -> Case:
    row = case.row
    if row["stop_reason"] is not None or not case.accepted:
        raise NoPlaceError("nothing to drop")
    kept = row["accepted_nodes"][:-1]
    path = [0, *kept.tolist()]
    return case.edited(
        accepted_nodes=kept,
        final_token_id=int(row["emitted_token_ids"][-2]),
        emitted_token_ids=row["emitted_token_ids"][:-1],
        path_indices=row["path_indices"][:-1],
        committed_len_after=row["committed_len_after"] - 1,
        kv_digest_after=chain(row["kv_digest_before"], row["kv_row_digests"][path]),
    )


def _final_from_elsewhere(case: Case, _: Pick) -> Case:
    if case.row["stop_reason"] is not None:
        raise NoPlaceError("a cut step")
    token = _other_token(case, case.row["final_token_id"])
    return case.poked("emitted_token_ids", -1, token).edited(final_token_id=token)


def _emitted_swapped(case: Case, pick: Pick) -> Case:
    place = pick(range(len(case.row["emitted_token_ids"])))
    return case.poked("emitted_token_ids", place, _other_token(case, -1))


def _eos_inside(case: Case, pick: Pick) -> Case:
    place = pick(range(len(case.accepted)))
    node, eos = case.accepted[place], min(case.context.eos_token_ids or {2})
    parent = case.row["parents"][node]
    if any(case.row["token_ids"][case.drafts] == eos):
        raise NoPlaceError("the tree has such a token already")
    case = case.poked("token_ids", node, eos).poked("target_token_ids", parent, eos)
    return case.poked("target_top_ids", (parent, 0), eos).poked("emitted_token_ids", place, eos)


def _eos_ignored(case: Case, _: Pick) -> Case:
    if case.row["stop_reason"] != "eos" or case.row["final_token_id"] in case.row["token_ids"][case.drafts]:
        raise NoPlaceError("no end-of-sequence token at the end")
    return case.edited(stop_reason=None)


def _stopped_for_no_reason(case: Case, _: Pick) -> Case:
    if case.row["stop_reason"] is not None:
        raise NoPlaceError("a cut step")
    return case.edited(stop_reason="eos")


def _limit_overrun(case: Case, _: Pick) -> Case:
    emitted = case.row["committed_len_after"] - case.before.prompt_len + 1
    return case.in_run(max_new_tokens=emitted - 1)


def _length_one_more(case: Case, _: Pick) -> Case:
    return case.edited(committed_len_after=case.row["committed_len_after"] + 1)


def _first_rows_kept(case: Case, _: Pick) -> Case:
    first = np.arange(len(case.accepted) + 1, dtype=np.int32) + np.int32(case.row["committed_len"])
    if np.array_equal(first, case.row["path_indices"]):
        raise NoPlaceError("the first nodes are the path")
    return case.edited(path_indices=first)


def _path_without_root(case: Case, _: Pick) -> Case:
    return case.edited(path_indices=case.row["path_indices"][1:])


def _prefix_reordered(case: Case, _: Pick) -> Case:
    return case.edited(prefix_kept=False)


def _row_moved_changed(case: Case, _: Pick) -> Case:
    return case.edited(kv_digest_after=case.row["kv_digest_after"] ^ 1)


def _rows_moved_in_wrong_order(case: Case, _: Pick) -> Case:
    path = [*reversed(case.accepted), 0]
    if len(path) < 2:
        raise NoPlaceError("one row has no order")
    rows = case.row["kv_row_digests"][path]
    return case.edited(kv_digest_after=chain(case.row["kv_digest_before"], rows))


def _committed_by_length(case: Case, _: Pick) -> Case:
    if case.accepted == list(range(1, len(case.accepted) + 1)):
        raise NoPlaceError("a chain may be committed by length")
    return case.edited(commit_mode="length", commit_fallback="asked to")


def _silent_fallback(case: Case, _: Pick) -> Case:
    return case.edited(commit_mode="full_reorder")


def _fallback_without_cause(case: Case, _: Pick) -> Case:
    return case.edited(commit_fallback="prefix not in order")


MUTATIONS: Final = (
    Mutation("path-jumps", "ACC001", _path_jumps),
    Mutation("pad-accepted", "ACC001", _pad_accepted),
    Mutation("filler-accepted", "ACC001", _filler_accepted),
    Mutation("unchosen-accepted", "ACC002", _unchosen_accepted),
    Mutation("stopped-one-short", "ACC003", _stopped_one_short),
    Mutation("final-from-elsewhere", "ACC004", _final_from_elsewhere),
    Mutation("emitted-swapped", "ACC005", _emitted_swapped),
    Mutation("eos-inside", "ACC006", _eos_inside),
    Mutation("eos-ignored", "ACC007", _eos_ignored),
    Mutation("stopped-for-no-reason", "ACC007", _stopped_for_no_reason),
    Mutation("limit-overrun", "ACC008", _limit_overrun),
    Mutation("length-one-more", "KV001", _length_one_more),
    Mutation("first-rows-kept", "KV002", _first_rows_kept),
    Mutation("path-without-root", "KV002", _path_without_root),
    Mutation("prefix-reordered", "KV003", _prefix_reordered),
    Mutation("row-moved-changed", "KV005", _row_moved_changed),
    Mutation("rows-moved-in-wrong-order", "KV005", _rows_moved_in_wrong_order),
    Mutation("committed-by-length", "KV006", _committed_by_length),
    Mutation("silent-fallback", "KV007", _silent_fallback),
    Mutation("fallback-without-cause", "KV007", _fallback_without_cause),
)
