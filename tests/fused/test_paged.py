"""Paged keys and values: the same text through blocks in any order, and every wrong table is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from invariants.context import RunContext
from invariants.outcome import Held, Violated
from invariants.run import Checker
from tests.fused.paging import ATTENTION, PROMPT, at_a_boundary, paged, verify, wide_pair
from tests.fused.support import Run, decode, fused_path, greedy, small_pair, start
from tracing.errors import ContractError
from tracing.stages import Tensorized
from workbench.fused.cache.pages import BlockTable
from workbench.npu import dispatch

SLOT_RULES = ("KV009", "KV010", "KV011", "KV012")


@pytest.mark.parametrize("mode", ["fast_reorder", "full_reorder", "length"])
@pytest.mark.parametrize("replication", ["incremental", "deepcopy"])
def test_blocks_of_16_emit_the_greedy_text(mode: str, replication: str) -> None:
    """Twenty-eight tokens cross block boundaries in prefix, tree and commit."""
    pair = wide_pair()
    run = decode(fused_path(pair, paged(commit_mode=mode), replication=replication), PROMPT, 28)
    unpaged = decode(fused_path(pair, paged(kv_layout="contiguous", commit_mode=mode)), PROMPT, 28)
    assert run.emitted == unpaged.emitted == greedy(pair, PROMPT, 28)
    assert mode in {step.committed.commit_mode for step in run.steps}
    assert run.path.lacks == frozenset()
    assert unpaged.path.lacks == {"slots"}
    assert all("paged block_size=16" in step.verified.kernel for step in run.steps)


@pytest.mark.parametrize("model_type", ["llama", "PanguEmbedded", "qwen3"])
def test_blocks_of_128_at_other_head_dims(model_type: str) -> None:
    pair = small_pair(5, model_type)
    run = decode(fused_path(pair, paged(128)), PROMPT * 9, 24)  # 126 tokens: the first tree crosses over
    assert run.emitted == greedy(pair, PROMPT * 9, 24)
    assert ATTENTION in run.steps[0].verified.kernel


def test_a_block_size_that_the_operator_does_not_take_runs_eager_and_says_so() -> None:
    run = decode(fused_path(small_pair(5), paged(16)), PROMPT, 24)
    assert run.emitted == greedy(small_pair(5), PROMPT, 24)
    assert run.steps[0].verified.kernel.startswith("eager_attention")
    reasons = run.path.info["switches"]["reasons"]
    assert reasons == ["attention is eager: blocks of 16 need head dim 64 or 128, not 16"]


def test_prompts_of_one_token_windows_and_half_precision() -> None:
    """One row takes the kernel without a mask, which finds its keys by length alone."""
    for pair, prompt in (
        (wide_pair(3), [7]),
        (wide_pair(3, model_type="mistral", sliding_window=12), PROMPT * 3),
    ):
        assert decode(fused_path(pair, paged()), prompt, 20).emitted == greedy(pair, prompt, 20)
    assert len(decode(fused_path(wide_pair(), paged(), dtype="bfloat16"), PROMPT, 20).emitted) == 20


@pytest.mark.parametrize("window", [None, 12])
def test_one_row_alone_agrees_with_its_row_in_the_tree(window: int | None) -> None:
    """Keys outside a window cannot be left out by length, so they are dropped before the call.

    Logits are of size 10 to 100 in float32: orders of the same sums differ by up to 1e-4, a single foreign
    key moves them by more than 1e-2.
    """
    pair = wide_pair(3, model_type="mistral", sliding_window=window)
    run = start(fused_path(pair, paged()), PROMPT)
    stages = run.path.stages
    tree = stages.tensorize(run.state, stages.draft(run.state))
    whole = verify(run, tree)
    given = {name: getattr(tree, name) for name in tree.__dataclass_fields__}
    root = {name: value[:1] for name, value in given.items() if value is not None} | {"slots": None}
    alone = verify(run, Tensorized(**(root | {"visible": tree.visible[:1, :1]})))
    torch.testing.assert_close(alone.logits[0], whole.logits[0], rtol=0, atol=5e-4)
    assert alone.prefix_visible.tolist() == whole.prefix_visible[:1].tolist()
    assert alone.other_visible.tolist() == [0]


def test_the_mask_is_as_wide_as_the_table_and_hides_what_holds_no_key() -> None:
    run, tree = at_a_boundary()
    seen = verify(run, tree)
    width = 16 * len(run.state.caches.main_cache.table.block_ids)
    assert width > run.state.committed_len + 16
    assert f"mask=bool[1, 1, 16, {width}] paged block_size=16" in seen.kernel
    assert np.array_equal(seen.visible, tree.visible)
    assert np.array_equal(seen.prefix_visible, np.where(tree.valid, run.state.committed_len, 0))
    assert not seen.other_visible.any()


def test_a_mask_that_shows_rows_behind_the_tree_is_reported() -> None:
    """The tail of a paged mask is read back too; the kernel's lengths would hide such a fault."""
    run, tree = at_a_boundary()

    def leak(operator: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            options["atten_mask"][0, 0, 3, -2:] = False
            return operator(*arguments, **options)

        return call

    with dispatch.wrapped(ATTENTION, leak):
        assert verify(run, tree).other_visible.tolist() == [0, 0, 0, 2] + [0] * 12


@settings(max_examples=40)
@given(
    block_size=st.sampled_from([1, 3, 16, 128]), wanted=st.lists(st.integers(0, 700), min_size=1, max_size=6)
)
def test_a_table_gives_every_position_one_slot_for_ever(block_size: int, wanted: list[int]) -> None:
    """Catches a block given out twice, a slot that moves when the table grows, and a table in order."""
    table, before = BlockTable(block_size), np.zeros(0, dtype=np.int64)
    for num_rows in wanted:
        table.reserve(num_rows)
        slots = table.slots(np.arange(table.num_slots))
        assert table.num_slots >= num_rows
        assert sorted(slots.tolist()) == list(range(table.num_slots))
        assert np.array_equal(slots[: len(before)], before)
        before = slots
    assert table.block_ids == [] or table.block_ids[0] != 0
    for position in (-1, table.num_slots):
        with pytest.raises(ContractError, match="CACHE-TABLE-RANGE"):
            table.slots(np.array([position]))


def row_of(step: Any, number: int) -> dict[str, Any]:
    from tracing.codec import row_columns
    from workbench.lockstep.recording.columns import tree_columns, verify_columns

    return {
        "prompt_id": 0,
        "turn": 0,
        "step": number,
        **tree_columns(step.drafted, step.tensorized),
        **verify_columns(step.verified, 4),
        **row_columns(step.accepted),
        **row_columns(step.committed),
    }


def outcomes(run: Run, change: Callable[[list[dict[str, Any]]], None] | None = None) -> dict[str, set[type]]:
    """Judge all steps by the rules on slots; `change` spoils the last row."""
    context = RunContext.from_settings(
        paged(), kv_capacity=run.path.info["kv_capacity"], num_slots=run.path.info["num_slots"]
    )
    checker, judged = Checker(context), {rule: set[type]() for rule in SLOT_RULES}
    rows = [row_of(step, number) for number, step in enumerate(run.steps)]
    if change is not None:
        change(rows)
    for row in rows:
        for outcome in checker.step("fused", row):
            if outcome.rule in judged:
                judged[outcome.rule].add(type(outcome))
    return judged


def test_slots_of_all_rows_pads_too_hold_the_laws() -> None:
    run = decode(fused_path(wide_pair(), paged(depth=0)), PROMPT, 40)  # 4 candidates and the root: 11 pads
    table = run.state.caches.main_cache.table
    for step in run.steps:
        tree = step.tensorized
        assert tree.slots.dtype == np.int64
        assert tree.slots.tolist() == [
            table.block_ids[position // 16] * 16 + position % 16 for position in tree.cache_positions.tolist()
        ]
        assert not np.array_equal(tree.slots, tree.cache_positions)
    assert all(Held in kinds and Violated not in kinds for kinds in outcomes(run).values())


def poke(slot: int) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[-1]["slots"] = np.array([slot, *rows[-1]["slots"][1:]])

    return change


def shift(rows: list[dict[str, Any]]) -> None:
    rows[-1]["slots"] = rows[-1]["slots"] - 1


def repeat(rows: list[dict[str, Any]]) -> None:
    rows[-1]["slots"] = np.array([rows[-1]["slots"][0], *rows[-1]["slots"][:-1]])


def stay(rows: list[dict[str, Any]]) -> None:
    rows[-1]["slots"] = rows[-2]["slots"]  # computed before the length was corrected by the commit


@pytest.mark.parametrize(
    ("rule", "change"),
    [("KV009", poke(-1)), ("KV009", poke(10**6)), ("KV010", repeat), ("KV011", shift), ("KV012", stay)],
)
def test_the_laws_on_slots_can_fail_here(rule: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    run = decode(fused_path(wide_pair(), paged()), PROMPT, 20)
    assert Violated in outcomes(run, change)[rule]
