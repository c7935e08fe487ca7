from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracing.columns import COLUMN_BY_NAME
from tracing.recorder import open_trace
from workbench.adapters.vllm.launch import Planned, RequestEnd
from workbench.adapters.vllm.rows import Scored, SeenRequest, logical_places, rows_of
from workbench.judge.recorded.check import check_run

NUM_DRAFTS = 3
TOKENS = np.array([5, 6, 7, 8])
LENGTH = 34


def seen(**changes: Any) -> SeenRequest:
    rows = LENGTH + np.arange(4)
    slots = np.array([9, 4])[rows // 32] * 32 + rows % 32
    facts: dict[str, Any] = {
        "batch_row": 0, "kv_len": LENGTH + 4, "kv_len_host": LENGTH + 4, "committed": LENGTH,
        "token_ids": TOKENS, "position_ids": rows, "tables": (np.array([9, 4]),), "slots": (slots,),
        "block_sizes": (32,), "is_causal": True, "launch": {"kernel": "k"},
    }  # fmt: skip
    return SeenRequest(**{**facts, **changes})


def scored() -> Scored:
    top = np.array([[6, 1], [7, 1], [3, 1], [2, 1]])
    return Scored(top, np.array([[2.0, 1.0]] * 4), "raw", choices_known=True, row={"row_temperature": 0.0})


PLAN = Planned(epoch=0, is_chunk=False, is_decode=True, num_drafts=NUM_DRAFTS)
ENDED = RequestEnd(sampled=(6, 7, 3), emitted=(6, 7, 3), committed_after=LENGTH + 3)


def findings(folder: Path, plan: Planned, what: SeenRequest, ended: RequestEnd, **changes: Any) -> set[str]:
    facts = {"limits": {"vocab_size": 100, "block_size": 32, "num_slots": 3200, "eos_token_ids": [99]}}
    with open_trace(folder, level="digest", manifest=facts) as trace:
        for row in rows_of(plan, what, scored(), ended):
            with trace.step(step=1) as step:
                step.record(proposer="eagle3", launch=0, request_id="a", **{**row, **changes})
    checked = check_run(folder)
    return {finding.rule for finding in checked.findings}


def test_a_step_as_the_engine_made_it_has_no_finding(tmp_path: Path) -> None:
    assert findings(tmp_path / "run", PLAN, seen(), ENDED) == set()


def test_a_tail_thrown_away_is_said_and_no_finding(tmp_path: Path) -> None:
    cut = RequestEnd(sampled=(6, 7, 3), emitted=(6,), committed_after=LENGTH + 3, stop_reason="length")
    (row,) = rows_of(PLAN, seen(), scored(), cut)
    assert row["discarded_token_ids"].tolist() == [7, 3]
    assert findings(tmp_path / "run", PLAN, seen(), cut) == set()


@pytest.mark.parametrize(
    ("emitted", "discarded"), [((6,), (7,)), ((6, 7, 3), (3,)), ((6,), (3, 7)), ((6,), None)]
)
def test_a_token_neither_given_nor_said_to_be_thrown_away_is_named(
    emitted: tuple[int, ...], discarded: tuple[int, ...] | None, tmp_path: Path
) -> None:
    ended = RequestEnd(sampled=(6, 7, 3), emitted=emitted, committed_after=LENGTH + 3, stop_reason="length")
    found = findings(tmp_path / "run", PLAN, seen(), ended, discarded_token_ids=discarded)
    assert found == {"ACC005"}


@pytest.mark.parametrize(
    ("what", "ended", "rule"),
    [
        (seen(position_ids=LENGTH + 1 + np.arange(4)), ENDED, "POS001"),
        (seen(kv_len=LENGTH + 3), ENDED, "MASK"),
        (seen(), RequestEnd(sampled=(6, 7, 4), emitted=(6, 7, 4), committed_after=LENGTH + 3), "ACC004"),
        (seen(), RequestEnd(sampled=(6,), emitted=(6,), committed_after=LENGTH + 1), "ACC003"),
        (seen(), RequestEnd(sampled=(6, 7, 3), emitted=(6, 7, 3), committed_after=LENGTH + 4), "KV001"),
    ],
)
def test_what_the_engine_did_wrong_is_recorded_as_it_was(
    what: SeenRequest, ended: RequestEnd, rule: str, tmp_path: Path
) -> None:
    found = findings(tmp_path / "run", PLAN, what, ended)
    assert any(each.startswith(rule) for each in found), found


def test_a_resume_has_its_context_first_then_its_step() -> None:
    plan = Planned(
        epoch=1, is_chunk=False, is_decode=True, num_drafts=0, blocks=([9, 4],), is_whole=True, num_cached=34
    )
    context, step = rows_of(plan, seen(), None, RequestEnd(sampled=(3,), emitted=(3,)))
    assert (context["row_kind"], context["query_len"], context["kv_len"]) == ("recompute", 3, LENGTH + 3)
    assert (context["block_ids"].tolist(), context["num_cached"]) == ([[9, 4]], 34)
    assert (step["committed_len"], step["kv_len"], step["token_ids"].tolist()) == (
        LENGTH + 3,
        LENGTH + 4,
        [8],
    )
    assert step["request_epoch"] == 1
    assert "block_ids" not in step


def test_chunks_and_withdrawn_launches_are_no_steps() -> None:
    chunk = Planned(epoch=0, is_chunk=True, is_decode=False, num_drafts=0)
    assert [row["row_kind"] for row in rows_of(chunk, seen(), None, RequestEnd())] == ["prefill_chunk"]
    (row,) = rows_of(PLAN, seen(), scored(), RequestEnd(is_withdrawn=True))
    assert row["row_kind"] == "withdrawn"
    assert "parents" not in row


def test_a_slot_outside_the_table_has_no_place() -> None:
    places = logical_places(np.array([-1, 9 * 32 + 5, 4 * 32, 7 * 32]), np.array([9, 4]), 32)
    assert places.tolist() == [-1, 5, 32, -1]


def test_every_column_exists() -> None:
    for plan in (PLAN, Planned(epoch=1, is_chunk=True, is_decode=True, num_drafts=0, blocks=([1],))):
        for row in rows_of(plan, seen(proposed=TOKENS[1:]), scored(), ENDED):
            assert set(row) <= set(COLUMN_BY_NAME)
