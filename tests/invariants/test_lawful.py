"""What would be a fault elsewhere is silent where it is declared, and found where something else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from invariants.batched import BatchChecker
from invariants.context import RunContext
from invariants.examples import CONTEXT, Before, StepRow, Tree, legal_step, next_before
from invariants.outcome import Violated
from invariants.run import Checker
from tests.invariants.pack import pack
from tracing.run_facts import ModelFacts

TREE = Tree([0, 0, 0, 1, 1, 3], [7, 5, 6, 8, 9, 11], [5, 8, 3, 61, 4, 9], num_pads=2)
UNKNOWN = replace(CONTEXT, model_facts=None)
Rows = list[StepRow]


def run_of(change: Callable[[StepRow], dict[str, Any]], steps: int = 3) -> Rows:
    before, rows = Before(committed_len=20, prompt_len=20), []
    for _ in range(steps):
        root = rows[-1]["final_token_id"] if rows else 7
        row = legal_step(replace(TREE, token_ids=[root, *TREE.token_ids[1:]]), before)
        rows.append({**row, **change(row)})
        before = next_before(row, before)
    return rows


def said(rows: Rows, rule: str, context: RunContext) -> list[str]:
    """What a rule says of each step, by the loop and by the batch."""
    loop = Checker(context)
    by_loop = [each for row in rows for each in loop.step("fused", row) if each.rule == rule]
    batch = BatchChecker(context)
    by_batch = [
        each
        for _, found in batch.batch("fused", pack(rows), rows.__getitem__)
        for each in found
        if each.rule == rule
    ]
    assert batch.counts["fused"][rule] == loop.counts["fused"][rule]
    assert [each for each in by_loop if isinstance(each, Violated)] == [
        each for each in by_batch if isinstance(each, Violated)
    ]
    return [type(each).__name__ for each in by_loop]


def lagging(lag: int, **also: Any) -> Callable[[StepRow], dict[str, Any]]:
    return lambda row: {"position_ids": (row["position_ids"] - lag).astype(np.int32), **also}


def facts(**given: Any) -> RunContext:
    return replace(CONTEXT, model_facts=ModelFacts(**given))


def test_a_declared_rotary_offset_is_lawful_and_no_other() -> None:
    assert said(run_of(lagging(13)), "POS001", facts(rotary_offset=-13)) == ["Held"] * 3
    assert said(run_of(lagging(12)), "POS001", facts(rotary_offset=-13)) == ["Violated"] * 3
    assert said(run_of(lagging(13)), "POS001", CONTEXT) == ["Violated"] * 3
    assert said(run_of(lagging(0)), "POS001", facts(rotary_offset=-13)) == ["Held"] * 3


def test_requests_have_offsets_of_their_own() -> None:
    context = replace(CONTEXT, request_offsets={"a": -13, "b": -5})
    assert said(run_of(lagging(13, request_id="a")), "POS001", context) == ["Held"] * 3
    assert said(run_of(lagging(13, request_id="b")), "POS001", context) == ["Violated"] * 3
    assert said(run_of(lagging(13, request_id="c")), "POS001", context) == ["Violated"] * 3


def test_an_undeclared_lag_is_not_checked_while_it_stays() -> None:
    assert said(run_of(lagging(13)), "POS001", UNKNOWN) == ["NotChecked"] * 3
    for wrong in (1, -1, -3):
        assert said(run_of(lagging(wrong)), "POS001", UNKNOWN) == ["Violated"] * 3
    rows = run_of(lagging(13))
    rows[2] |= lagging(1)(rows[2])
    assert said(rows, "POS001", UNKNOWN) == ["NotChecked", "NotChecked", "Violated"]


@pytest.mark.parametrize("rows", [1, 3])
def test_rotary_rows_agree(rows: int) -> None:
    def rotary(lag: int) -> Callable[[StepRow], dict[str, Any]]:
        return lambda row: {
            "rotary_position_ids": np.stack([row["position_ids"] - lag] * rows).astype(np.int32)
        }

    assert said(run_of(rotary(13)), "POS005", facts(rotary_offset=-13)) == ["Held"] * 3
    assert said(run_of(rotary(13)), "POS001", facts(rotary_offset=-13)) == ["Held"] * 3
    assert said(run_of(rotary(0)), "POS005", facts(rotary_offset=-13)) == ["Violated"] * 3
    assert said(run_of(rotary(13)), "POS005", UNKNOWN) == ["NotChecked"] * 3
    assert said(run_of(rotary(0)), "POS005", UNKNOWN) == ["Held"] * 3
    split = run_of(rotary(13))
    split[1]["rotary_position_ids"][-1, 2] += 1
    assert said(split, "POS005", UNKNOWN) == ["NotChecked", "Violated", "NotChecked"]
    assert said(run_of(lagging(13, **rotary(13)(run_of(rotary(13))[0]))), "POS001", CONTEXT)[0] == "Violated"


def constrained(row: StepRow, **also: Any) -> dict[str, Any]:
    """After node 3 the second best token is chosen."""
    ids = row["target_top_ids"].copy()
    ids[3, [0, 1]] = ids[3, [1, 0]]
    return {"target_top_ids": ids, **also}


def test_a_constrained_choice_is_lawful_where_it_is_declared() -> None:
    digests = np.ma.array(np.zeros(8, np.uint64), mask=[True] * 3 + [False] + [True] * 4)
    rows = run_of(constrained)
    assert said(rows, "LOGIT002", CONTEXT) == ["Violated"] * 3
    assert said(rows, "LOGIT002", facts(constrained_choice=True)) == ["NotChecked"] * 3
    assert said(rows, "LOGIT002", UNKNOWN) == ["NotChecked"] * 3
    assert (
        said(run_of(lambda row: constrained(row, allowed_digest=digests)), "LOGIT002", CONTEXT)
        == ["Held"] * 3
    )
    for kind in ("masked", "processed"):
        declared = facts(constrained_choice=True)
        found = said(run_of(lambda row, k=kind: constrained(row, logits_kind=k)), "LOGIT002", declared)
        assert found == ["Violated"] * 3


def test_a_choice_that_no_grammar_explains_is_found_without_facts() -> None:
    everywhere = run_of(lambda row: {"target_top_ids": np.roll(row["target_top_ids"], 1, axis=1)})
    assert said(everywhere, "LOGIT002", UNKNOWN) == ["Violated"] * 3


def test_masked_logits_may_be_minus_infinity_and_nothing_else() -> None:
    def with_logit(value: float, **also: Any) -> Callable[[StepRow], dict[str, Any]]:
        def change(row: StepRow) -> dict[str, Any]:
            logits = row["target_top_logits"].copy()
            logits[2, -1] = value
            return {"target_top_logits": logits, **also}

        return change

    assert said(run_of(with_logit(-np.inf, logits_kind="masked")), "LOGIT001", CONTEXT) == ["Held"] * 3
    assert said(run_of(with_logit(-np.inf)), "LOGIT001", CONTEXT) == ["Violated"] * 3
    assert said(run_of(with_logit(np.nan, logits_kind="masked")), "LOGIT001", CONTEXT) == ["Violated"] * 3


def test_an_engine_without_stop_reasons_is_not_charged_with_one() -> None:
    row = run_of(lambda _: {"stop_reason": None}, 1)[0]
    context = replace(CONTEXT, eos_token_ids=frozenset({int(row["final_token_id"])}))
    assert said([row], "ACC007", context) == ["Violated"]
    assert said([row], "ACC007", replace(context, records_stop_reason=False)) == ["NotChecked"]
    wrong = {**row, "stop_reason": "finished"}
    assert said([wrong], "ACC007", replace(context, records_stop_reason=False)) == ["Violated"]


def windowed(window: int, committed_len: int = 20) -> Callable[[StepRow], dict[str, Any]]:
    def change(row: StepRow) -> dict[str, Any]:
        length, depths = row["committed_len"], row["depths"]
        seen = np.clip(window - 1 - depths, 0, length)
        return {"prefix_visible": np.where(row["valid"], seen, 0).astype(np.int32)}

    del committed_len
    return change


def test_rows_of_an_undeclared_window_are_not_checked() -> None:
    assert said(run_of(windowed(9)), "MASK009", facts(windows=(9,))) == ["Held"] * 3
    assert said(run_of(windowed(9)), "MASK009", facts(windows=(0, 9, 0))) == ["Held"] * 3
    assert said(run_of(windowed(9)), "MASK009", facts(windows=(0, 9), shown_layer=0)) == ["Violated"] * 3
    assert said(run_of(windowed(10)), "MASK009", facts(windows=(9, 0))) == ["Violated"] * 3
    assert said(run_of(windowed(9)), "MASK009", UNKNOWN) == ["NotChecked"] * 3
    cut = run_of(lambda row: {"prefix_visible": np.where(row["valid"], 12, 0).astype(np.int32)})
    assert said(cut, "MASK009", UNKNOWN) == ["Violated"] * 3
    assert (
        said(run_of(lambda row: {**windowed(9)(row), "depths": None}), "MASK009", facts(windows=(9,)))
        == ["NotChecked"] * 3
    )


def test_chunks_and_sinks() -> None:
    def seen(row: StepRow) -> dict[str, Any]:
        position = row["committed_len"] + row["depths"]
        keys = np.arange(row["committed_len"])
        own = (keys[None] // 8 == position[:, None] // 8) | (keys[None] < 2)
        return {"prefix_visible": np.where(row["valid"], own.sum(1), 0).astype(np.int32)}

    declared = facts(windows=(8, 0), chunked_layers=(0,), num_sinks=2, shown_layer=0)
    assert said(run_of(seen), "MASK009", declared) == ["Held"] * 3
    assert said(run_of(seen), "MASK009", facts(windows=(8, 0), num_sinks=2)) == ["Violated"] * 3
