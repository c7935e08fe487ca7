"""Experts of a step as recorded: one of each group, loads that agree with them, no rows lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, Pick
from invariants.prefilter import Flags, prefilter
from invariants.rule import BoolArray, IntArray, NotApplicableError, Violation, Violations, invariant
from tracing.expert_columns import Ids, ids_by_layer, loads_by_layer
from tracing.run_facts import ModelFacts

LIMIT: Final = 8
"""Places named one by one."""


def _facts(model_facts: ModelFacts | None) -> ModelFacts:
    if model_facts is None or not model_facts.num_experts:
        raise NotApplicableError("the manifest does not say how many experts there are (model_facts)")
    return model_facts


def _of_step(expert_ids: Any, expert_loads: Any, valid: BoolArray, facts: ModelFacts) -> tuple[Ids, Ids]:
    """Return experts by layer and node, and loads by layer and expert."""
    loads = loads_by_layer(expert_loads, facts.num_experts)
    if loads is None:
        raise NotApplicableError("loads are not as many as the experts of whole layers")
    per_node = facts.expert_groups or expert_ids.size // max(len(loads) * len(valid), 1)
    ids = ids_by_layer(expert_ids, len(valid), per_node)
    if ids is None or len(ids) != len(loads):
        raise NotApplicableError("experts and loads are not of the same layers")
    return ids, loads


@invariant("MOE001", stage="verify", requires=("ROW001",))
def expert_not_one_per_group(
    expert_ids: IntArray, valid: BoolArray, model_facts: ModelFacts | None = None
) -> Violations:
    """A node does not have exactly one expert of each group.

    ## What it does
    For models whose tokens get one expert of each group (`model_facts.expert_groups`), sorts the experts of
    each valid node and layer and checks that they fall into the groups one by one.

    ## Why it matters
    Experts of a rank numbered from 0, a choice of the best of all, or a sentinel go to weights of other
    experts: nothing raises, and the text degrades.

    ## Example
    Four groups of four, and a node has experts 1, 2, 9 and 14.

    ## Seen in
    vllm-project/vllm-gaudi#1796 (global against local ids under expert parallelism).

    ## Limits
    Says nothing of models that choose experts otherwise. Whether the right expert of a group was chosen is
    for a run beside the reference to say.
    """
    facts = _facts(model_facts)
    if not facts.expert_groups:
        raise NotApplicableError("experts are not chosen by group (model_facts.expert_groups)")
    ids = ids_by_layer(expert_ids, len(valid), facts.expert_groups)
    if ids is None:
        raise NotApplicableError("experts are not one for each node and group")
    size = facts.num_experts // facts.expert_groups
    for layer, node in np.argwhere(_misplaced(ids, valid, facts))[:LIMIT].tolist():
        came = sorted(ids[layer, node].tolist())
        message = f"node {node} has experts {came} in layer {layer}, not one of each group of {size}"
        yield Violation(message, "expert_ids", node, found=str(came))


@invariant("MOE002", stage="verify", requires=("ROW001",))
def expert_load_below_its_nodes(
    expert_ids: IntArray, expert_loads: IntArray, valid: BoolArray, model_facts: ModelFacts | None = None
) -> Violations:
    """An expert got fewer rows than there are nodes that chose it.

    ## What it does
    Counts the valid nodes that have each expert, layer by layer, and checks that `expert_loads` is not less.

    ## Why it matters
    Rows that an expert does not take, for want of capacity or by a count that is off by one, come back as
    nothing or as another expert's.

    ## Example
    Five nodes have expert 3, and it got 4 rows.

    ## Seen in
    deepspeedai/DeepSpeed#6809 (rows beyond an expert's capacity are dropped).

    ## Limits
    Loads are those of the whole launch: with other requests in it they may be higher.
    """
    facts = _facts(model_facts)
    ids, loads = _of_step(expert_ids, expert_loads, valid, facts)
    every = _counts(ids[:, valid], facts.num_experts)
    for layer, (counts, got) in enumerate(zip(every, loads, strict=True)):
        for expert in np.flatnonzero(counts > got)[:1].tolist():
            message = (
                f"expert {expert} of layer {layer} got {got[expert]} rows, {counts[expert]} nodes have it"
            )
            yield Violation(message, "expert_loads", found=int(got[expert]), expected=int(counts[expert]))


@invariant("MOE003", stage="verify", requires=("MOE002",))
def expert_rows_lost(
    expert_ids: IntArray, expert_loads: IntArray, valid: BoolArray, model_facts: ModelFacts | None = None
) -> Violations:
    """Layers, or groups of experts, got different numbers of rows in one launch.

    ## What it does
    Adds up the loads of each layer, and of each group where a token gets one expert of each: all sums are
    equal, since every row of the launch passes every layer.

    ## Why it matters
    A layer that worked on fewer rows dropped some, or counted an earlier launch.

    ## Example
    Twelve rows with four experts each make 48; layer 3 has 47.

    ## Seen in
    Graphs that replay with the counts of the launch they were captured with.

    ## Limits
    Loads of one rank of an expert-parallel engine are not those of the launch: record their sum.
    """
    facts = _facts(model_facts)
    _, loads = _of_step(expert_ids, expert_loads, valid, facts)
    sums = _sums(loads, facts)
    values, counts = np.unique(sums, return_counts=True)
    usual = int(values[counts.argmax()])
    for layer, group in np.argwhere(sums != usual)[:1].tolist():
        where = f"group {group} of layer {layer}" if facts.expert_groups else f"layer {layer}"
        message = f"the experts of {where} got {sums[layer, group]} rows, those of others {usual}"
        yield Violation(message, "expert_loads", found=int(sums[layer, group]), expected=usual)


def _by_step(column: Ragged) -> Iterator[IntArray]:
    for start, length in zip(column.starts.tolist(), column.lengths.tolist(), strict=True):
        yield column.values[start : start + length]


def _misplaced(ids: Ids, valid: BoolArray, facts: ModelFacts) -> BoolArray:
    """Return which nodes lack an expert of a group or have two, `[M, N]`."""
    size = facts.num_experts // facts.expert_groups
    wrong: BoolArray = (np.sort(ids, axis=-1) // size != np.arange(facts.expert_groups)).any(axis=-1)
    return wrong & valid


@prefilter("MOE001")
def _any_misplaced(expert_ids: Ragged, valid: BoolArray, model_facts: ModelFacts) -> Flags:
    if not model_facts.expert_groups or not model_facts.num_experts:
        return False
    found = np.zeros(len(valid), dtype=np.bool_)
    for step, flat in enumerate(_by_step(expert_ids)):
        ids = ids_by_layer(flat, valid.shape[1], model_facts.expert_groups)
        found[step] = ids is None or _misplaced(ids, valid[step], model_facts).any()
    return found


@prefilter("MOE002", "MOE003")
def _any_load_off(
    expert_ids: Ragged, expert_loads: Ragged, valid: BoolArray, model_facts: ModelFacts
) -> Flags:
    if not model_facts.num_experts:
        return False
    found = np.zeros(len(valid), dtype=np.bool_)
    for step, (flat, given) in enumerate(zip(_by_step(expert_ids), _by_step(expert_loads), strict=True)):
        try:
            ids, loads = _of_step(flat, given, valid[step], model_facts)
        except NotApplicableError:
            found[step] = True  # the loop says why nothing can be compared
            continue
        below = (_counts(ids[:, valid[step]], model_facts.num_experts) > loads).any()
        found[step] = below or len(np.unique(_sums(loads, model_facts))) > 1
    return found


def _counts(ids: Ids, num_experts: int) -> Ids:
    """Return how many rows of `[M, R, E]` have each expert, `[M, X]`."""
    known = [layer[(layer >= 0) & (layer < num_experts)] for layer in ids]
    return np.stack([np.bincount(layer, minlength=num_experts) for layer in known])


def _sums(loads: Ids, facts: ModelFacts) -> Ids:
    """Return the rows of each layer and group, `[M, G]`."""
    sums: Ids = loads.reshape(len(loads), facts.expert_groups or 1, -1).sum(axis=-1)
    return sums


def _another_of_its_group(case: Case, pick: Pick) -> Case:
    facts = case.context.model_facts
    case = case.where(facts is not None and facts.expert_groups > 1, "no groups of experts")
    assert facts is not None
    place = pick(case.nodes) * facts.expert_groups
    other = (case.row["expert_ids"][place] + facts.num_experts // facts.expert_groups) % facts.num_experts
    row = case.poked("expert_ids", place, other)
    return row.edited(expert_loads=np.full_like(case.row["expert_loads"], 999))


def _a_row_too_few(case: Case, pick: Pick) -> Case:
    loads = case.row["expert_loads"]
    facts = case.context.model_facts
    assert facts is not None
    ids = ids_by_layer(case.row["expert_ids"], len(case.row["valid"]), facts.expert_groups)
    assert ids is not None
    chosen = int(ids[0, pick(case.nodes), 0])
    counts = int((ids[0, case.nodes] == chosen).sum())
    less = loads.copy()
    less[: facts.num_experts] += 50
    less[chosen] = counts - 1
    return case.edited(expert_loads=less)


def _a_layer_with_more(case: Case, pick: Pick) -> Case:
    return case.moved("expert_loads", pick(range(len(case.row["expert_loads"]))), 3)


MUTATIONS: Final[Changes] = {
    "MOE001 an expert of another group": _another_of_its_group,
    "MOE002 an expert gets a row too few": _a_row_too_few,
    "MOE003 an expert gets rows of nobody": _a_layer_with_more,
}
