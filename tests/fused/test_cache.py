"""Branch and commit: isolation, and equality with a cache that never speculated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from tests.fused.support import fused_path, plain_teacher, small_pair, start
from tracing.errors import ContractError, UsageError
from tracing.settings import DecodeSettings
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.fused.cache.manager import CacheManager
from workbench.fused.cache.paged import PagedCache, WriteRows, write_fused
from workbench.fused.cache.pages import BlockTable
from workbench.fused.cache.rows import RowCache

LAYERS, KV_HEADS, HEAD_DIM = 2, 2, 4
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


def extend(cache: Any, num_rows: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for layer in range(LAYERS):
        key, value = torch.randn((2, 1, KV_HEADS, num_rows, HEAD_DIM), generator=random)
        cache.update(key, value, layer)


def paged(write: WriteRows = write_fused) -> PagedCache:
    """Blocks of 3 rows: the 5 committed ones and every path cross a boundary."""
    return PagedCache(LAYERS, BlockTable(3), write, torch.device("cpu"))


KINDS: dict[str, Callable[[], RowCache]] = {"contiguous": lambda: ContiguousCache(LAYERS), "paged": paged}
either_kind = pytest.mark.parametrize("kind", KINDS)


def manager(replication: str, kind: str = "contiguous", committed_len: int = 5) -> CacheManager:
    caches = CacheManager(KINDS[kind](), replication)
    extend(caches.main_cache, committed_len, seed=0)
    return caches


def content(cache: Any) -> torch.Tensor:
    """Return all rows in use, `[layers, 2, H_kv, R, D]`."""
    if isinstance(cache, RowCache):
        return cache.gather(np.arange(min(cache.lengths))).transpose(2, 3).contiguous()
    return torch.stack([torch.cat([layer.keys, layer.values]) for layer in cache.layers]).clone()


def spoil(cache: Any) -> None:
    """Overwrite all memory of a cache."""
    for layer in cache.layers:
        layer._memory.fill_(9.0)


@either_kind
def test_a_cache_holds_what_the_librarys_dynamic_cache_holds(kind: str) -> None:
    """Same calls, same keys and values, also beyond the first buffer or pool."""
    ours, theirs = KINDS[kind](), DynamicCache()
    for seed, num_rows in enumerate((3, 1, 400, 2)):
        extend(ours, num_rows, seed)
        extend(theirs, num_rows, seed)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(7, 0) == theirs.get_mask_sizes(7, 0)
    assert torch.equal(content(ours), content(theirs))


def test_rows_in_use_are_contiguous_in_the_operators_layout() -> None:
    """BSND without a copy is why the buffer is laid out so."""
    cache = ContiguousCache(LAYERS)
    extend(cache, 5, seed=1)
    assert cache.layers[0].keys.transpose(1, 2).is_contiguous()


@either_kind
@pytest.mark.parametrize("replication", ["incremental", "deepcopy"])
def test_extending_a_branch_touches_neither_main_nor_siblings(replication: str, kind: str) -> None:
    caches = manager(replication, kind)
    main = content(caches.main_cache)
    first, second = caches.replicate(2)
    extend(first, 3, seed=1)
    sibling = content(second)
    spoil(first)
    assert torch.equal(content(caches.main_cache), main)
    assert torch.equal(content(second), sibling)
    assert torch.equal(sibling, main)


@either_kind
@pytest.mark.parametrize("replication", ["incremental", "deepcopy"])
@settings(max_examples=25)
@given(
    paths=st.lists(st.lists(st.integers(1, 6), max_size=3, unique=True).map(sorted), min_size=1, max_size=4)
)
def test_branches_always_equal_main_after_any_commits(
    replication: str, kind: str, paths: list[list[int]]
) -> None:
    """Catches a branch that keeps tree rows, or misses a row that main has committed."""
    caches = manager(replication, kind)
    for seed, accepted in enumerate(paths):
        branch = caches.replicate()[0]
        assert torch.equal(content(branch), content(caches.main_cache))
        extend(branch, 7, seed)
        committed_len = caches.committed_len
        path = committed_len + np.array([0, *accepted])
        expected = content(branch)[:, :, :, [*range(committed_len), *path]]
        outcome = caches.commit(path, "fast_reorder" if seed % 2 else "full_reorder")
        assert outcome.prefix_kept
        assert outcome.fallback is None
        assert torch.equal(content(caches.main_cache), expected)


@either_kind
@settings(max_examples=25)
@given(accepted=st.lists(st.integers(1, 6), max_size=5, unique=True).map(sorted))
def test_fast_reorder_equals_full_reorder(kind: str, accepted: list[int]) -> None:
    results = []
    for mode in ("fast_reorder", "full_reorder"):
        caches = manager("incremental", kind)
        extend(caches.replicate()[0], 7, seed=3)
        outcome = caches.commit(5 + np.array([0, *accepted]), mode)
        assert outcome.mode == mode
        results.append(content(caches.main_cache))
    assert torch.equal(*results)


@either_kind
def test_length_commit_equals_full_reorder_on_a_path_in_the_first_slots(kind: str) -> None:
    results = []
    for mode in ("length", "full_reorder"):
        caches = manager("incremental", kind)
        extend(caches.replicate()[0], 7, seed=3)
        assert caches.commit(np.array([5, 6, 7]), mode).mode == mode
        results.append(content(caches.main_cache))
    assert torch.equal(*results)


@either_kind
@pytest.mark.parametrize(
    ("mode", "path", "reason"),
    [
        ("length", [5, 7], "path does not occupy the first slots behind the prefix"),
        ("fast_reorder", [6, 7], "path does not begin at the root's slot"),
        ("fast_reorder", [5, 8, 7], "path does not ascend"),
        ("fast_reorder", [5, 7, 7], "path does not ascend"),
    ],
)
def test_what_a_mode_cannot_do_falls_back_and_says_why(
    mode: str, path: list[int], reason: str, kind: str
) -> None:
    caches = manager("incremental", kind)
    branch = caches.replicate()[0]
    extend(branch, 7, seed=3)
    expected = content(branch)[:, :, :, [0, 1, 2, 3, 4, *path]]
    outcome = caches.commit(np.array(path), mode)
    assert (outcome.mode, outcome.fallback) == ("full_reorder", reason)
    assert torch.equal(content(caches.main_cache), expected)


@either_kind
def test_layers_of_different_length_fall_back(kind: str) -> None:
    caches = manager("incremental", kind)
    branch = caches.replicate()[0]
    extend(branch, 7, seed=3)
    branch.layers[1].truncate(10)
    assert caches.commit(np.array([5, 6]), "fast_reorder").fallback == "layers differ in length"


@either_kind
@pytest.mark.parametrize("path", [[5, 12], [-1, 5]])
def test_a_path_outside_the_branch_is_refused_and_changes_nothing(path: list[int], kind: str) -> None:
    """On the device such a gather reads foreign memory without an error."""
    caches = manager("incremental", kind)
    extend(caches.replicate()[0], 7, seed=3)
    before = content(caches.main_cache)
    with pytest.raises(ContractError, match="path_indices"):
        caches.commit(np.array(path), "fast_reorder")
    assert torch.equal(content(caches.main_cache), before)


def test_the_papers_flag_forbids_the_fast_reorder() -> None:
    path = fused_path(small_pair(4), environment={"EA_FAST_CACHE_REORDER": "0"})
    committed = start(path, PROMPT).step().committed
    assert (committed.commit_mode, committed.commit_fallback) == ("full_reorder", "EA_FAST_CACHE_REORDER=0")
    assert committed.prefix_kept


def test_an_unknown_replication_is_refused() -> None:
    with pytest.raises(UsageError, match="replication should be incremental or deepcopy"):
        fused_path(small_pair(4), replication="view")


LAYOUTS = pytest.mark.parametrize("kv_layout", ["contiguous", "paged"])


def in_layout(kv_layout: str) -> DecodeSettings:
    return DecodeSettings(tree_nodes=16, depth=3, top_k=4, kv_layout=kv_layout)


@LAYOUTS
@torch.no_grad()
def test_commit_equivalence_with_sequential_execution(kv_layout: str) -> None:
    """The committed cache is that of the teacher fed one token after the other.

    Both sides are float32 and differ in the order of sums only; states are of size 1 to 10, where a float32
    ulp is 1e-6 at most, and a wrong row is off by about 1.
    """
    pair = small_pair(5)
    run = start(fused_path(pair, in_layout(kv_layout)), PROMPT)
    for _ in range(6):
        run.step()
    assert any(np.any(np.diff(step.accepted.path_indices) > 1) for step in run.steps), (
        "no real reorder happened"
    )
    tokens = [*PROMPT, *run.emitted][: run.state.committed_len]
    sequential, model = DynamicCache(), plain_teacher(pair)
    for token in tokens:
        model(torch.tensor([[token]]), past_key_values=sequential, use_cache=True)
    rows = run.path.kv_rows(run.state, "main", np.arange(len(tokens)))
    for layer, (ours, theirs) in enumerate(zip(rows, sequential.layers, strict=True)):
        torch.testing.assert_close(ours[0], theirs.keys[0], rtol=0, atol=5e-5, msg=f"keys of layer {layer}")
        torch.testing.assert_close(ours[1], theirs.values[0], rtol=0, atol=5e-5)


@LAYOUTS
def test_windows_show_copies_and_lengths(kv_layout: str) -> None:
    run = start(fused_path(small_pair(5), in_layout(kv_layout)), PROMPT)
    windows = run.path.kv_rows, run.path.kv_lengths
    assert windows[1](run.state, "branch") is None
    assert windows[0](run.state, "branch", np.arange(1)) is None
    step = run.step()
    committed_len = run.state.committed_len
    assert windows[1](run.state, "main") == (committed_len,) * 2
    assert windows[1](run.state, "branch") == (len(PROMPT) + 16,) * 2
    assert windows[1](run.state, "drafter") == (len(PROMPT),), (
        "one row per pair fed before this step's commit"
    )
    moved = windows[0](run.state, "main", np.arange(len(PROMPT), committed_len))
    assert moved.shape == (2, 2, 2, len(step.accepted.path_indices), 16)
    assert torch.equal(moved, windows[0](run.state, "branch", step.accepted.path_indices))
    moved.zero_()
    assert windows[0](run.state, "main", np.array([0])).abs().sum() > 0


@LAYOUTS
def test_copies_are_made_without_deep_copying_a_tensor(
    kv_layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch_npu replaces how tensors are deep-copied, by code that torch warns of."""
    run = start(fused_path(small_pair(5), in_layout(kv_layout), replication="deepcopy"), PROMPT)

    def refuse(tensor: torch.Tensor, memo: Any) -> torch.Tensor:
        raise AssertionError("a tensor was deep-copied")

    monkeypatch.setattr(torch.Tensor, "__deepcopy__", refuse)
    run.step()
    copied = run.path.snapshot(run.state)
    assert torch.equal(content(copied.caches.main_cache), content(run.state.caches.main_cache))
    assert torch.equal(copied.memory.new_rows.features, run.state.memory.new_rows.features)
    layers = [state.caches.main_cache.layers[0] for state in (copied, run.state)]
    assert layers[0]._memory.data_ptr() != layers[1]._memory.data_ptr()


@LAYOUTS
def test_a_snapshot_lives_its_own_life(kv_layout: str) -> None:
    """A stage repeated on a copy leaves the original where it was, and gives the same result."""
    run = start(fused_path(small_pair(5), in_layout(kv_layout)), PROMPT)
    run.step()
    stages = run.path.stages
    copied = run.path.snapshot(run.state)
    before = content(run.state.caches.main_cache)
    twice = []
    for state in (copied, run.state):
        drafted = stages.draft(state)
        tree = stages.tensorize(state, drafted)
        twice.append(stages.verify(state, tree).logits)
        if state is copied:
            accepted = stages.accept(state, tree, stages.verify(state, tree), 100)
            stages.commit(state, tree, stages.verify(state, tree), accepted)
    assert torch.equal(*twice)
    assert torch.equal(content(run.state.caches.main_cache), before)
