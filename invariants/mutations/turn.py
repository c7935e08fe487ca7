"""Mutations of slots, of the drafter, and of what one step hands to the next."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.examples import Tree, legal_step
from invariants.mutations.case import Case, Mutation, NoPlaceError, Pick
from tracing.digest import chain


def _slot_minus_one(case: Case, pick: Pick) -> Case:
    return case.poked("slots", pick([0, *case.drafts]), -1)


def _slot_past_the_end(case: Case, pick: Pick) -> Case:
    return case.poked("slots", pick([0, *case.drafts]), case.context.num_slots)


def _slot_twice(case: Case, pick: Pick) -> Case:
    return case.poked("slots", pick([*case.drafts, *case.pads]), case.row["slots"][0])


def _slot_in_another_block(case: Case, pick: Pick) -> Case:
    node = pick([0, *case.drafts])
    return case.poked("slots", node, case.row["slots"][node] + 513)


def _committed_slot_again(case: Case, pick: Pick) -> Case:
    if case.previous is None:
        raise NoPlaceError("no previous step")
    committed = case.previous["slots"][: len(case.previous["accepted_nodes"]) + 1].tolist()
    return case.poked("slots", len(case.row["slots"]) - 1, pick(committed)).in_run(block_size=None)


def _prefix_written_over(case: Case, _: Pick) -> Case:
    if case.previous is None:
        raise NoPlaceError("no previous step")
    digest = case.row["kv_digest_before"] ^ 1
    rows = case.row["kv_row_digests"][[0, *case.accepted]]
    return case.edited(kv_digest_before=digest, kv_digest_after=chain(digest, rows))


def _score_nan(case: Case, pick: Pick) -> Case:
    return case.poked("draft_logprobs", pick(case.drafts), np.nan)


def _score_is_a_probability(case: Case, pick: Pick) -> Case:
    return case.poked("draft_logprobs", pick(case.leaves), 0.5)


def _child_likelier(case: Case, pick: Pick) -> Case:
    parents, scores = case.row["parents"], case.row["draft_logprobs"]
    node = pick([node for node in case.drafts if parents[node] > 0])
    return case.poked("draft_logprobs", node, scores[parents[node]] / 2)


def _beam_of_first_level_again(case: Case, _: Pick) -> Case:
    return case.poked("beam_flat_ids", 3, 1)


def _beam_twice(case: Case, _: Pick) -> Case:
    return case.poked("beam_flat_ids", 4, case.row["beam_flat_ids"][3])


def _beam_level_cut_short(case: Case, _: Pick) -> Case:
    return case.edited(beam_flat_ids=case.row["beam_flat_ids"][:-1])


def _column_lost(case: Case, pick: Pick) -> Case:
    if case.previous is None:
        raise NoPlaceError("no previous step")
    return case.edited(**{pick(["target_token_ids", "visible", "position_ids", "path_indices"]): None})


def _attends_ahead(case: Case, pick: Pick) -> Case:
    return case.poked("draft_top1_offsets", (0, pick([0, 1])), -1)


def _attends_before_the_start(case: Case, pick: Pick) -> Case:
    return case.poked("draft_top1_offsets", (0, pick([0, 1])), case.row["committed_len"] + 1)


def _same_drafts_again(case: Case, _: Pick) -> Case:
    old = case.previous
    if old is None or np.count_nonzero(old["valid"]) < 5:
        raise NoPlaceError("no previous step with four drafts")
    size = int(np.count_nonzero(old["valid"]))
    tree = Tree(
        parents=old["parents"][:size].tolist(),
        token_ids=[case.row["token_ids"][0], *old["token_ids"][1:size].tolist()],
        choices=old["target_token_ids"][:size].tolist(),
        num_pads=len(old["valid"]) - size,
    )
    case = case.edited(**legal_step(tree, case.before, case.context))
    return case.edited(draft_logprobs=old["draft_logprobs"])


def _step_lost(case: Case, _: Pick) -> Case:
    if case.previous is None:
        raise NoPlaceError("no previous step")
    return case.edited(step=case.row["step"] + 1)


def _other_root(case: Case, _: Pick) -> Case:
    if case.previous is None:
        raise NoPlaceError("no previous step")
    taken = {*case.row["token_ids"].tolist()}
    return case.poked("token_ids", 0, next(each for each in range(96, 0, -1) if each not in taken))


def _length_not_carried(case: Case, _: Pick) -> Case:
    length = None if case.previous is None else case.previous["committed_len_after"] - 1
    return case.after(committed_len_after=length)


def _goes_on_after_stop(case: Case, pick: Pick) -> Case:
    return case.after(stop_reason=pick(["eos", "length"]))


def _goes_on_after_eos(case: Case, _: Pick) -> Case:
    root = int(case.row["token_ids"][0])
    if root in case.row["emitted_token_ids"] or case.row["stop_reason"] == "eos":
        raise NoPlaceError("this step would end the turn, too")
    return case.after(stop_reason=None).in_run(eos_token_ids=frozenset({root}))


def _prompt_longer_than_prefix(case: Case, _: Pick) -> Case:
    context = case.row["context_token_ids"]
    if context is None:
        raise NoPlaceError("not a first step")
    return case.edited(context_token_ids=np.append(context, context[-1]))


def _first_root_differs(case: Case, _: Pick) -> Case:
    if case.row["context_token_ids"] is None:
        raise NoPlaceError("not a first step")
    return case.poked("context_token_ids", -1, case.row["token_ids"][0] + 1)


MUTATIONS: Final = (
    Mutation("column-lost", "ROW003", _column_lost),
    Mutation("prefix-written-over", "KV004", _prefix_written_over),
    Mutation("slot-minus-one", "KV009", _slot_minus_one),
    Mutation("slot-past-the-end", "KV009", _slot_past_the_end),
    Mutation("slot-twice", "KV010", _slot_twice),
    Mutation("slot-in-another-block", "KV011", _slot_in_another_block),
    Mutation("committed-slot-again", "KV012", _committed_slot_again),
    Mutation("score-nan", "DRAFT001", _score_nan),
    Mutation("score-is-a-probability", "DRAFT001", _score_is_a_probability),
    Mutation("child-likelier-than-parent", "DRAFT002", _child_likelier),
    Mutation("beam-of-first-level-again", "DRAFT003", _beam_of_first_level_again),
    Mutation("beam-twice", "DRAFT003", _beam_twice),
    Mutation("beam-level-cut-short", "DRAFT003", _beam_level_cut_short),
    Mutation("attends-ahead", "DRAFT004", _attends_ahead),
    Mutation("attends-before-the-start", "DRAFT004", _attends_before_the_start),
    Mutation("same-drafts-again", "DRAFT005", _same_drafts_again),
    Mutation("step-lost", "STEP001", _step_lost),
    Mutation("other-root", "STEP002", _other_root),
    Mutation("length-not-carried", "STEP003", _length_not_carried),
    Mutation("goes-on-after-stop", "STEP004", _goes_on_after_stop),
    Mutation("goes-on-after-eos", "STEP004", _goes_on_after_eos),
    Mutation("prompt-longer-than-prefix", "STEP005", _prompt_longer_than_prefix),
    Mutation("first-root-differs", "STEP005", _first_root_differs),
)
