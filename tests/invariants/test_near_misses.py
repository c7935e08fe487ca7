"""What looks wrong and is legal: one near miss for each rule, on which the whole catalogue is silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from invariants.catalogue import CATALOGUE
from invariants.examples import CONTEXT, Before, Tree, legal_step, next_before
from invariants.inputs import Row
from invariants.mutation import Case, permuted
from invariants.outcome import Violated
from invariants.rule import IntArray
from invariants.run import Checker
from tests.invariants import sampled_cases
from tests.invariants.helpers import held, violated
from tracing.digest import chain
from tracing.run_facts import ModelFacts
from tracing.spans import Reach

BRANCHY = Tree([0, 0, 0, 1, 1, 3], [7, 5, 6, 8, 9, 11], [5, 8, 3, 61, 4, 9], num_pads=2)
CHAIN = Tree([0, 0, 1, 2], [7, 5, 6, 8], [5, 6, 61, 9])
DEEPEST = Tree([0, 0, 1, 2, 3, 4, 5, 6, 7], list(range(20, 29)), [61] * 9)
START = Before()


def case(tree: Tree = BRANCHY, before: Before = START) -> Case:
    row = legal_step(tree, before)
    return Case(row, CONTEXT, None, row)


def second(tree: Tree, first: Tree = BRANCHY) -> Case:
    """The step after one on `first`; its root is what that step emitted last."""
    row = legal_step(first, START)
    rooted = replace(tree, token_ids=[row["final_token_id"], *tree.token_ids[1:]])
    return Case(legal_step(rooted, next_before(row, START)), CONTEXT, row, row)


def experts(one: Case) -> IntArray:
    """Experts by layer, node and group, `[M, N, P]`."""
    facts = CONTEXT.model_facts
    assert facts is not None
    ids: IntArray = one.row["expert_ids"].reshape(-1, len(one.row["valid"]), facts.expert_groups)
    return ids


def beside_tokens(one: Case, *, last: bool) -> Case:
    """The step in a launch with a token of another request; its experts differ from layer to layer or not."""
    facts = CONTEXT.model_facts
    assert facts is not None
    size = facts.num_experts // facts.expert_groups
    loads = one.row["expert_loads"].reshape(-1, facts.expert_groups, size).copy()
    for layer, groups in enumerate(loads):
        groups[:, (layer if last else 0) % size] += 1
    return one.edited(expert_loads=loads.ravel())


def beside(one: Case, slot: int) -> Case:
    """The step after another request has written to one slot."""
    return one.after_others({**one.earlier, "prompt_id": 7, "slots": np.array([slot])})


def with_kv_row(one: Case, node: int, digest: int) -> Case:
    """Give a node another KV row, and commit what then was accepted."""
    one = one.poked("kv_row_digests", node, digest)
    rows = one.row["kv_row_digests"][[0, *one.accepted]]
    return one.edited(kv_digest_after=chain(one.row["kv_digest_before"], rows))


def windowed(one: Case, window: int) -> Case:
    """A step of a model whose every layer has a window, shorter than the tree is deep."""
    span, positions = Reach(window), one.row["committed_len"] + one.row["depths"].astype(np.int64)
    visible = one.row["visible"] & span.reaches(positions, positions)
    seen = np.where(one.row["valid"], span.num_prefix(positions, one.row["committed_len"]), 0)
    shown = one.edited(visible=visible, prefix_visible=seen.astype(np.int32))
    return shown.in_run(model_facts=ModelFacts(windows=(window,) * 3))


def rotary_rows_of_pads() -> Case:
    """Three rotary rows behind a picture; those of pads hold anything."""
    one = case()
    rows = np.stack([one.row["position_ids"] - 13] * 3)
    rows[:, ~one.row["valid"]] = 5
    return one.edited(rotary_position_ids=rows).in_run(model_facts=ModelFacts(rotary_offset=-13))


def twin_nodes(column: str) -> Case:
    """One token at one depth under two parents: equal rows are legal in a shallow model."""
    one = case(Tree([0, 0, 0, 1, 2], [7, 5, 6, 8, 8], [61] * 5))
    return one.poked(column, 4, one.row[column][3])


def permuted_children(one: Case) -> Case:
    """The same tree with two nodes of one level swapped."""
    order = list(range(len(one.row["parents"])))
    order[3], order[4] = order[4], order[3]
    return permuted(one, order)


def all_choices_alike() -> Case:
    """One choice for all, with logits of their own."""
    return case(replace(BRANCHY, choices=[61] * 6))


def equal_logits_lower_id() -> Case:
    one = case()
    return one.poked("target_top_logits", (1, 1), one.row["target_top_logits"][1, 0])


def pad_with_a_hole_below() -> Case:
    """A pad may have no slot at all, in a cache that is not asked to write it."""
    return case().poked("slots", 7, -1)


def moved_block() -> Case:
    """Consecutive blocks may lie anywhere: the second block of the step far from the first."""
    one = case(before=Before(committed_len=12, prompt_len=12))
    slots = one.row["slots"].copy()
    slots[one.row["cache_positions"] >= 16] += 5 * 16
    return one.edited(slots=slots)


def cut_at(reason: str) -> Case:
    if reason == "eos":
        return case(replace(BRANCHY, choices=[5, 8, 3, 2, 4, 9]))
    row = legal_step(BRANCHY, START, replace(CONTEXT, max_new_tokens=3))
    return Case(row, replace(CONTEXT, max_new_tokens=3), None, row)


NEAR_MISSES: dict[str, Callable[[], Case]] = {
    **sampled_cases.NEAR_MISSES,
    "ROW001": lambda: case(Tree([0], [7], [61])),
    "ROW002": lambda: case().edited(incomplete=None),
    "ROW003": lambda: second(BRANCHY).edited(feature_row_digests=None, kernel=None),  # now and then is fine
    "TREE001": lambda: case(CHAIN),  # the last node's parent is the highest legal index but one
    "TREE002": lambda: case(DEEPEST),
    "TREE003": lambda: case(replace(BRANCHY, num_pads=3)),
    "TREE004": lambda: case(DEEPEST),
    "TREE005": lambda: case(Tree([0], [7], [61], num_pads=3)),
    "TREE006": lambda: permuted_children(case()),
    "TREE007": lambda: case(Tree([0, 0, 0, 1, 2], [7, 5, 6, 8, 8], [61] * 5)),  # cousins, not siblings
    "TREE008": lambda: case(replace(BRANCHY, num_pads=1)),
    "TREE009": lambda: case().poked("token_ids", 7, 96),
    "TREE010": lambda: case(DEEPEST).in_run(max_tree_nodes=9, max_tree_depth=8),
    "TREE011": lambda: case().edited(draft_parents=case().row["parents"][:6]),  # recorded though the same
    "POS001": lambda: case().poked("prefix_visible", 7, 3),  # pads keep what they like there
    "POS005": rotary_rows_of_pads,
    "POS002": lambda: case(before=Before(committed_len=0, prompt_len=0)),
    "POS003": lambda: case(CHAIN).in_run(max_positions=14),
    "POS004": lambda: case(CHAIN).in_run(kv_capacity=14),
    "MASK001": lambda: case(CHAIN),
    "MASK002": lambda: case(DEEPEST),
    "MASK003": lambda: case(Tree([0], [7], [61], num_pads=1)),
    "MASK004": lambda: case(Tree([0, 0], [7, 5], [61, 62])),
    "MASK005": lambda: case(Tree([0, 0], [7, 5], [5, 61])),
    "MASK006": lambda: case(Tree([0, 0], [7, 5], [5, 61])),
    "MASK007": lambda: case(CHAIN),  # a chain's mask is plainly causal by right
    "MASK008": lambda: case(Tree([0, 0, 1], [7, 5, 6], [5, 6, 61])),
    "MASK009": lambda: case(before=Before(committed_len=0, prompt_len=0)),
    "MASK010": lambda: case().poked("other_visible", 7, 4),  # a pad sees what it likes
    "MASK012": lambda: windowed(case(DEEPEST), 4),
    "MASK011": lambda: case().poked("prefix_visible", 7, 10),  # a pad may see the prefix
    "IDX001": lambda: case().edited(index_sites=[{"site": "rope", "min": 0, "max": 511, "bound": 512}]),
    "IDX002": lambda: case().edited(index_sites=[{"site": "rope", "min": 0, "max": 0, "bound": 1}]),
    "IDX003": lambda: case(CHAIN).poked("token_ids", 3, 96).reaccepted(),
    "IDX004": lambda: case().poked("target_token_ids", 7, -1),
    "LOGIT001": lambda: case().poked("target_top_logits", 7, np.nan),  # a pad's row may hold anything
    "LOGIT002": equal_logits_lower_id,
    "LOGIT004": lambda: case().edited(choice_allowed=case().row["valid"]),  # pads choose as they like
    "LOGIT003": all_choices_alike,
    "FEAT001": lambda: twin_nodes("feature_row_digests"),
    "FEAT002": lambda: second(BRANCHY),
    "ACC001": lambda: case(Tree([0, 0, 0, 2], [7, 5, 6, 8], [6, 61, 8, 61])),  # down the second branch
    "ACC002": lambda: case(Tree([0, 0, 0], [7, 5, 6], [6, 61, 61])),
    "ACC003": lambda: cut_at("length"),
    "ACC004": lambda: case(Tree([0, 0], [7, 5], [61, 62])),  # a correction after the root
    "ACC005": lambda: case(Tree([0, 0, 1], [7, 7, 7], [7, 7, 7])),  # one token over and over
    "ACC006": lambda: cut_at("eos"),
    "ACC007": lambda: cut_at("length"),
    "ACC008": lambda: case().in_run(max_new_tokens=4).edited(stop_reason="length"),
    "KV001": lambda: case(Tree([0, 0], [7, 5], [61, 61])),
    "KV002": lambda: case(Tree([0, 0, 0, 2], [7, 5, 6, 8], [6, 61, 8, 61])),
    "KV003": lambda: case(before=Before(committed_len=0, prompt_len=0)),
    "KV004": lambda: second(CHAIN),
    "KV005": lambda: with_kv_row(case(), 2, 99),
    "KV006": lambda: case(CHAIN).edited(commit_mode="length", commit_fallback="a chain"),
    "KV007": lambda: case().edited(commit_mode="full_reorder", commit_fallback="prefix not in order"),
    "KV008": lambda: twin_nodes("kv_row_digests"),
    "KV009": pad_with_a_hole_below,
    "KV010": lambda: case().poked("slots", 6, -1).poked("slots", 7, -1),
    "KV011": moved_block,
    "KV012": lambda: second(CHAIN),  # rejected slots are written again, as they should be
    "KV013": lambda: case().poked("slots", 6, 3).poked("slots", 7, 3).in_run(null_block=0),
    "KV014": lambda: beside(second(BRANCHY), slot=320),  # a block of its own
    "DRAFT001": lambda: case().poked("draft_logprobs", 2, -80.0),
    "DRAFT002": lambda: case().poked("draft_logprobs", 5, case().row["draft_logprobs"][3]),
    "DRAFT003": lambda: case().edited(beam_flat_ids=np.array([2, 0, 1, 11, 3, 7])),  # any order in a level
    "DRAFT004": lambda: case().poked("draft_top1_offsets", (0, 0), 10),
    "DRAFT005": lambda: second(BRANCHY),  # the same drafts, with scores of their own
    "DRAFT006": lambda: case().poked("draft_logprobs", 2, case().row["draft_logprobs"][1]),  # a tie
    "DRAFT007": lambda: case(CHAIN).edited(proposed_token_ids=np.array([5, 6, 8, 40])),  # one not scheduled
    "STEP006": lambda: second(CHAIN).edited(num_rejected_before=len(case().drafts) - len(case().accepted)),
    "MOE001": lambda: case().edited(expert_ids=experts(case())[..., ::-1].ravel()),  # in another order
    "MOE002": lambda: beside_tokens(case(), last=False),
    "MOE003": lambda: beside_tokens(case(), last=True),
    "STEP001": lambda: second(CHAIN),
    "STEP002": lambda: second(CHAIN),
    "STEP003": lambda: second(CHAIN),
    "STEP004": lambda: second(CHAIN).after(final_token_id=second(CHAIN).row["token_ids"][0]),
    "STEP005": lambda: case(before=Before(committed_len=1, prompt_len=1)),
}


@pytest.mark.parametrize("rule", NEAR_MISSES)
def test_a_near_miss_is_not_flagged(rule: str) -> None:
    assert violated(NEAR_MISSES[rule]()) == []


def test_every_step_and_turn_rule_has_a_near_miss() -> None:
    assert set(NEAR_MISSES) == {rule.id for rule in CATALOGUE if rule.scope in ("step", "turn")}


def test_near_misses_are_looked_at() -> None:
    """All but the cut step, whose shortened path is exactly what must not be judged."""
    assert [rule for rule, make in NEAR_MISSES.items() if rule not in held(make())] == ["ACC003"]


def in_turns(*rows: Row) -> list[str]:
    """The rules that speak of the last of these rows, as requests take turns."""
    checker = Checker(CONTEXT)
    said = [checker.step("fused", row) for row in rows]
    return [each.rule for each in said[-1] if isinstance(each, Violated)]


def test_two_requests_that_share_a_block_are_told_at_the_second_step() -> None:
    step = second(BRANCHY)
    other = [{**row, "prompt_id": 1} for row in (step.earlier, step.row)]
    assert in_turns(step.earlier, other[0], step.row) == ["KV014"]
    assert in_turns(step.earlier, other[0], step.row, other[1]) == ["KV014"]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"slots": np.arange(640, 648)}, {}),  # blocks of its own
        ({"dp_rank": 1}, {}),  # the cache of another rank
        ({}, {"request_epoch": 1}),  # preempted in between
    ],
)
def test_requests_that_take_turns_in_their_own_blocks_are_silent(first: Row, then: Row) -> None:
    step = second(BRANCHY)
    assert in_turns(step.earlier, {**step.earlier, "prompt_id": 1, **first}, {**step.row, **then}) == []


def test_a_request_that_was_left_out_of_a_launch_may_have_other_blocks() -> None:
    step = second(BRANCHY)
    other = [{**row, "prompt_id": 1} for row in (step.earlier, step.row)]
    assert in_turns(step.earlier, *other, step.row) == []
