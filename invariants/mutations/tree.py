"""Mutations of topology, padding and positions."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.mutations.case import Case, Mutation, NoPlaceError, Pick, permuted


def _column_too_long(case: Case, pick: Pick) -> Case:
    name = pick(["position_ids", "depths", "slots", "target_token_ids"])
    return case.edited(**{name: np.append(case.row[name], case.row[name][-1])})


def _row_incomplete(case: Case, _: Pick) -> Case:
    return case.edited(incomplete="verify never ended")


def _parent_minus_one(case: Case, pick: Pick) -> Case:
    return case.poked("parents", pick([*case.drafts, *case.pads]), -1)


def _parent_past_the_end(case: Case, pick: Pick) -> Case:
    return case.poked("parents", pick([*case.drafts, *case.pads]), len(case.row["parents"]))


def _own_parent(case: Case, pick: Pick) -> Case:
    node = pick(case.drafts)
    return case.poked("parents", node, node)


def _parent_not_above(case: Case, pick: Pick) -> Case:
    return case.poked("depths", pick(case.drafts), 0)


def _child_of_pad(case: Case, pick: Pick) -> Case:
    node = pick([node for node in case.drafts if case.pads and case.row["depths"][node] > 1])
    return case.poked("parents", node, case.pads[-1])


def _depth_one_too_many(case: Case, pick: Pick) -> Case:
    node = pick(case.leaves)
    return case.poked("depths", node, case.row["depths"][node] + 1)


def _root_has_a_parent(case: Case, pick: Pick) -> Case:
    return case.poked("parents", 0, pick(case.drafts))


def _parent_swapped_behind_child(case: Case, pick: Pick) -> Case:
    parents = case.row["parents"]
    child = pick([node for node in case.drafts if parents[node] > 0])
    order = list(range(len(parents)))
    order[child], order[parents[child]] = order[parents[child]], order[child]
    return permuted(case, order)


def _sibling_twice(case: Case, pick: Pick) -> Case:
    parents, tokens = case.row["parents"], case.row["token_ids"]
    pairs = [(a, b) for a in case.drafts for b in case.bystanders if a != b and parents[a] == parents[b]]
    first, second = pick(pairs)
    return case.poked("token_ids", second, tokens[first])


def _pad_moved_forward(case: Case, pick: Pick) -> Case:
    order = list(range(len(case.row["parents"])))
    order.insert(pick([node for node in case.drafts if case.pads]), order.pop())
    return permuted(case, order)


def _pad_keeps_depth(case: Case, pick: Pick) -> Case:
    return case.poked("depths", pick(case.pads), 3)


def _pad_keeps_parent(case: Case, pick: Pick) -> Case:
    return case.poked("parents", pick([pad for pad in case.pads if case.drafts]), case.drafts[-1])


def _pad_keeps_position(case: Case, pick: Pick) -> Case:
    return case.poked("position_ids", pick(case.pads), case.row["committed_len"] + 4)


def _tree_larger_than_asked(case: Case, _: Pick) -> Case:
    return case.in_run(max_tree_nodes=len(case.row["parents"]) - 1)


def _tree_deeper_than_asked(case: Case, _: Pick) -> Case:
    if not case.drafts:
        raise NoPlaceError("only a root")
    return case.in_run(max_tree_depth=int(case.row["depths"].max()) - 1)


def _parent_changed_after_draft(case: Case, pick: Pick) -> Case:
    drafted = case.row["parents"][: 1 + len(case.drafts)].copy()
    node = pick(case.drafts[1:])
    drafted[node] = 0 if drafted[node] else node - 1
    return case.edited(draft_parents=drafted)


def _node_lost_after_draft(case: Case, _: Pick) -> Case:
    return case.edited(draft_parents=np.append(case.row["parents"][: 1 + len(case.drafts)], np.int32(0)))


def _one_position_ahead(case: Case, pick: Pick) -> Case:
    node = pick([0, *case.drafts])
    return case.poked("position_ids", node, case.row["position_ids"][node] + 1)


def _all_positions_ahead(case: Case, _: Pick) -> Case:
    positions = case.row["position_ids"] + case.row["valid"].astype(np.int32)
    return case.edited(position_ids=positions)


def _positions_not_advanced(case: Case, _: Pick) -> Case:
    if not case.drafts:
        raise NoPlaceError("only a root")
    return case.edited(position_ids=np.full_like(case.row["position_ids"], case.row["committed_len"]))


def _position_past_the_table(case: Case, _: Pick) -> Case:
    return case.in_run(max_positions=int(case.row["position_ids"].max()))


def _cache_positions_one_back(case: Case, _: Pick) -> Case:
    return case.edited(cache_positions=case.row["cache_positions"] - 1)


def _cache_position_twice(case: Case, pick: Pick) -> Case:
    node = pick([*case.drafts, *case.pads])
    return case.poked("cache_positions", node, case.row["cache_positions"][node] - 1)


def _cache_too_small(case: Case, _: Pick) -> Case:
    return case.in_run(kv_capacity=int(case.row["cache_positions"][-1]))


MUTATIONS: Final = (
    Mutation("column-too-long", "ROW001", _column_too_long),
    Mutation("row-incomplete", "ROW002", _row_incomplete),
    Mutation("parent-minus-one", "TREE001", _parent_minus_one),
    Mutation("parent-past-the-end", "TREE001", _parent_past_the_end),
    Mutation("own-parent", "TREE002", _own_parent),
    Mutation("parent-not-above", "TREE002", _parent_not_above),
    Mutation("child-of-pad", "TREE003", _child_of_pad),
    Mutation("depth-one-too-many", "TREE004", _depth_one_too_many),
    Mutation("root-has-a-parent", "TREE005", _root_has_a_parent),
    Mutation("parent-swapped-behind-child", "TREE006", _parent_swapped_behind_child),
    Mutation("sibling-twice", "TREE007", _sibling_twice),
    Mutation("pad-moved-forward", "TREE008", _pad_moved_forward),
    Mutation("pad-keeps-depth", "TREE009", _pad_keeps_depth),
    Mutation("pad-keeps-parent", "TREE009", _pad_keeps_parent),
    Mutation("pad-keeps-position", "TREE009", _pad_keeps_position),
    Mutation("tree-larger-than-asked", "TREE010", _tree_larger_than_asked),
    Mutation("tree-deeper-than-asked", "TREE010", _tree_deeper_than_asked),
    Mutation("parent-changed-after-draft", "TREE011", _parent_changed_after_draft),
    Mutation("node-lost-after-draft", "TREE011", _node_lost_after_draft),
    Mutation("one-position-ahead", "POS001", _one_position_ahead),
    Mutation("all-positions-ahead", "POS001", _all_positions_ahead),
    Mutation("positions-not-advanced", "POS001", _positions_not_advanced),
    Mutation("cache-positions-one-back", "POS002", _cache_positions_one_back),
    Mutation("cache-position-twice", "POS002", _cache_position_twice),
    Mutation("position-past-the-table", "POS003", _position_past_the_table),
    Mutation("cache-too-small", "POS004", _cache_too_small),
)
