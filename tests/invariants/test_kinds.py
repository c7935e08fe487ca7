"""One step speaks for all of its kind: what the prefilter passes is counted as the loop would count it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from invariants.batch import kinds as kinds_module
from invariants.batch.kinds import kinds
from invariants.batch.steps import Batch
from invariants.batched import BatchChecker
from invariants.catalogue import APPLICABILITY
from invariants.examples import CONTEXT, Before, StepRow, Tree, legal_step, next_before
from invariants.inputs import Row
from invariants.mutation import Case
from invariants.outcome import Outcome
from invariants.prefilter import Applicability
from invariants.run import Checker
from tests.invariants.forms import FIRST, SECOND, THIRD
from tests.invariants.helpers import outcomes, violated
from tests.invariants.pack import pack

BRANCHY = Tree([0, 0, 0, 1, 1], [7, 5, 6, 8, 9], [60, 61, 62, 63, 64], 1)
OPENING = legal_step(BRANCHY, Before())
TREES = (
    BRANCHY,
    Tree([0, 0, 0, 1, 1], [7, 5, 6, 8, 9], [5, 61, 62, 63, 64], 1),  # a node is accepted
    Tree([0, 0, 0, 1, 1], [7, 5, 6, 8, 9], [5, 2, 62, 63, 64], 1),  # and the turn ends
    Tree([0, 0, 0, 0, 0], [7, 5, 6, 8, 9], [60, 61, 62, 63, 64], 1),  # all on one level
    Tree([0, 0, 1, 2, 3], [7, 60, 60, 60, 60], [61, 61, 62, 63, 64], 1),  # one token over and over
    Tree([0, 0], [7, 5], [60, 61], 4),
    Tree([0], [7], [60], 5),
    Tree([0, 0, 0, 1, 1, 2], [7, 5, 6, 8, 9, 10], [60, 61, 62, 63, 64, 65]),  # no padding
)


def _changes(row: StepRow) -> dict[str, Any]:
    """Values of columns, all of the same form, by which the step stays legal."""
    hidden = np.ma.array(row["draft_top1_offsets"], mask=True)
    drafts = row["token_ids"][1:][row["valid"][1:]]
    rejected = int(OPENING["valid"].sum()) - 1 - len(OPENING["accepted_nodes"])
    return {
        "as it is": {},
        "no scores": {"draft_logprobs": np.zeros(6, np.float32)},
        "nothing expanded": {"draft_top1_offsets": hidden},
        "no sites": {"index_sites": []},
        "no beams": {"beam_flat_ids": np.zeros(0, np.int32)},
        "by length": {"commit_mode": "length", "commit_fallback": "asked to"},
        "wholly reordered": {"commit_mode": "full_reorder", "commit_fallback": "asked to"},
        "because of length": {"stop_reason": "length"},
        "searched, not shown": {"beam_flat_ids": None},
        "as proposed": {"proposed_token_ids": drafts},
        "nothing proposed": {"proposed_token_ids": drafts[:0]},
        "placeholders": {"proposed_token_ids": np.full(3, -1)},
        "rejections counted": {"num_rejected_before": rejected, "request_epoch": 0},
        "preempted since": {"num_rejected_before": rejected, "request_epoch": 1},
        "a static tree": {"beam_flat_ids": None, "proposer": "medusa"},
    }


@cache
def cases() -> tuple[Case, ...]:
    """Legal second steps of one form that differ in what rules find to look at."""
    made = []
    for tree in TREES:
        rooted = replace(tree, token_ids=[OPENING["final_token_id"], *tree.token_ids[1:]])
        row = legal_step(rooted, next_before(OPENING, Before()))
        row |= {"commit_fallback": "asked to", "commit_mode": "full_reorder"}
        made += [Case({**row, **change}, CONTEXT, OPENING, OPENING) for change in _changes(row).values()]
    return tuple(case for case in made if not violated(case))


@cache
def all_outcomes() -> tuple[tuple[Outcome, ...], ...]:
    return tuple(tuple(outcomes(case).values()) for case in cases())


def mixed_rules() -> set[str]:
    """Rules that say one thing of a step and another of a step of the same kind."""
    rows = [{**row, "turn": turn} for turn, case in enumerate(cases()) for row in (OPENING, case.row)]
    batch = Batch(pack(rows), CONTEXT)
    numbers = kinds(batch, np.zeros(batch.num_steps, np.bool_), {})[0][1::2]
    first: dict[int, tuple[Outcome, ...]] = {}
    mixed = set()
    for number, said in zip(numbers.tolist(), all_outcomes(), strict=True):
        pairs = zip(first.setdefault(number, said), said, strict=True)
        mixed |= {one.rule for one, other in pairs if one != other}
    return mixed


def test_steps_of_one_kind_have_the_same_outcomes() -> None:
    assert len(cases()) > 30
    assert mixed_rules() == set()


@pytest.mark.parametrize("clause", kinds_module.CLAUSES, ids=lambda clause: clause.name)
def test_no_applicability_clause_is_idle(clause: Applicability, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, steps in which a rule looked and had nothing to look at would be of one kind."""
    others = tuple(each for each in kinds_module.CLAUSES if each is not clause)
    monkeypatch.setattr(kinds_module, "CLAUSES", others)
    named = {rule for each in APPLICABILITY if each.check is clause.check for rule in each.rules}
    assert mixed_rules() & named


@pytest.mark.parametrize("damage", ["too long", "an entry lost"])
def test_a_damaged_column_is_counted_as_by_the_loop(damage: str) -> None:
    """The step itself and the one after it, whose rules look back at it."""
    rows: list[Row] = []
    arrays = [name for name, value in SECOND.items() if isinstance(value, np.ndarray) and value.size]
    for prompt, name in enumerate(arrays):
        value = SECOND[name]
        lost = np.zeros(value.shape, np.bool_)
        lost.flat[-1] = True
        longer = np.concatenate([value, value[-1:]])
        damaged = longer if damage == "too long" else np.ma.array(value, mask=lost)
        rows += [{**row, "prompt_id": prompt} for row in (FIRST, {**SECOND, name: damaged}, THIRD)]
    loop, batched = Checker(CONTEXT), BatchChecker(CONTEXT)
    expected = {number: loop.step("fused", row) for number, row in enumerate(rows)}
    found = dict(batched.batch("fused", pack(rows), rows.__getitem__))
    assert {number: expected[number] for number in found} == found
    assert batched.counts == loop.counts
