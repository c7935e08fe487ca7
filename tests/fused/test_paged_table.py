"""The block table of the kernel: a wrong one is reported, any legal one gives the same text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.fused.paging import ATTENTION, PROMPT, at_a_boundary, paged, verify, wide_pair
from tests.fused.support import Run, decode, fused_path, greedy, plain_teacher, start
from tracing.errors import ContractError
from tracing.stages import Tensorized
from workbench.npu import dispatch


def teacher_rows(run: Run, tree: Tensorized) -> torch.Tensor:
    """Each node's logits as transformers computes them from the node's own path."""
    model, context = plain_teacher(wide_pair()), [*PROMPT, *run.emitted][: run.state.committed_len]
    with torch.no_grad():
        return torch.stack(
            [
                model(torch.tensor([[*context, *tree.token_ids[np.flatnonzero(seen)].tolist()]])).logits[
                    0, -1
                ]
                for seen in tree.visible[:4]
            ]
        )


def is_right(run: Run, tree: Tensorized) -> bool:
    """Tell whether the first nodes get the teacher's logits; see above for the tolerance."""
    return bool((verify(run, tree).logits[:4] - teacher_rows(run, tree)).abs().max() < 5e-4)


def given_to_the_kernel(change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Let every attention call get another block table than the one that rows were written by."""

    def wrap(operator: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            return operator(*arguments, **{**options, "block_table": change(options["block_table"])})

        return call

    return dispatch.wrapped(ATTENTION, wrap)


def in_order(table: torch.Tensor) -> torch.Tensor:
    return torch.arange(table.shape[1], dtype=torch.int32)[None]


def unused_out(table: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.arange(table.shape[1]) < 2, table, -1)


def test_a_table_in_order_given_to_the_kernel_is_seen() -> None:
    """The fault of an engine that forgets the table: it reads other blocks."""
    run, tree = at_a_boundary()
    assert is_right(run, tree)
    with given_to_the_kernel(in_order):
        assert not is_right(run, tree)


def test_entries_past_the_last_block_in_use_may_be_anything() -> None:
    """Engines pad their tables with -1; 30 rows use two blocks."""
    run, tree = at_a_boundary()
    with given_to_the_kernel(unused_out):
        assert is_right(run, tree)


def test_an_id_outside_the_pool_is_refused() -> None:
    """The device would read foreign memory; the emulation names the rule."""
    run, tree = at_a_boundary()
    with (
        given_to_the_kernel(lambda table: table + 100),
        pytest.raises(ContractError, match="NPU-FIA-BLOCK-ID"),
    ):
        verify(run, tree)


def test_slots_that_forget_the_table_are_written_and_seen() -> None:
    """What `slots` says is where rows go: logical positions in place of slots lose the tree's keys."""
    run, tree = at_a_boundary()
    assert not is_right(run, replace(tree, slots=tree.cache_positions))
    with pytest.raises(ContractError, match="NPU-PA-SLOT-BOUND"):
        verify(run, replace(tree, slots=tree.slots + 10**6))
    with pytest.raises(ContractError, match="NPU-PA-SLOT-UNIQUE"):
        verify(run, replace(tree, slots=np.full_like(tree.slots, int(tree.slots[0]))))


def test_windows_read_through_the_table() -> None:
    """Two blocks exchanged after writing: the committed rows are no longer what they were."""
    run = decode(fused_path(wide_pair(), paged()), PROMPT, 24)
    positions = np.arange(run.state.committed_len)
    before = run.path.kv_rows(run.state, "main", positions)
    block_ids = run.state.caches.main_cache.table.block_ids
    block_ids[0], block_ids[1] = block_ids[1], block_ids[0]
    after = run.path.kv_rows(run.state, "main", positions)
    assert torch.equal(after[:, :, :, :16], before[:, :, :, 16:32])
    assert torch.equal(after[:, :, :, 32:], before[:, :, :, 32:])


def test_any_order_of_blocks_gives_the_same_text() -> None:
    """A near miss: another table, used by all alike, is no fault."""
    pair = wide_pair()
    path = fused_path(pair, paged())
    run = start(path, PROMPT)
    table = run.state.caches.main_cache.table
    table.reserve(200)
    table.block_ids[1:] = table.block_ids[1:][::-1]  # the first block is the only one written so far
    while len(run.emitted) < 40:
        run.step(40 - len(run.emitted))
    assert run.emitted == greedy(pair, PROMPT, 40)
