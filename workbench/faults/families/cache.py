"""Faults of the committed cache: rows moved, left, overwritten; lengths; branches out of step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch

from tracing.stages import Committed, Prefilled, Verified
from workbench.faults.edits import since
from workbench.faults.fault import Fault
from workbench.faults.placement import Placement, Scene, after, before, on_function
from workbench.fused.cache import manager

Rows = torch.Tensor
"""A layer's rows as memory, `[2, length, H_kv, D]`: keys, then values."""


def _rows(cache: Any, layer: int) -> Rows:
    """Return a layer's rows as a view that can be written."""
    found: Rows = cache.layers[layer].rows(0, cache.layers[layer].get_seq_length())
    return found


def _each_layer(
    spoil: Callable[[Rows, Rows, Committed, list[int]], None], layers: slice = slice(None)
) -> Placement:
    """Spoil the committed rows of some layers, given the branch's rows and the path."""

    def change(made: Committed, scene: Scene) -> Committed:
        caches, accepted = scene.state.caches, scene.arguments[2]
        for layer in range(len(caches.main_cache.layers))[layers]:
            main, branch = _rows(caches.main_cache, layer), _rows(caches.branch_caches[0], layer)
            spoil(main, branch, made, accepted.path_indices.tolist())
        return made

    return after("commit", change)


def _unmoved(main: Rows, branch: Rows, made: Committed, path: list[int]) -> None:
    """The move writes a temporary: the rows behind the prefix stay the first rows of the tree."""
    start = made.committed_len
    main[:, start : start + len(path)] = branch[:, start : start + len(path)]


def _wrong_values(main: Rows, branch: Rows, made: Committed, path: list[int]) -> None:
    """Keys are moved, values are taken one row further on."""
    start = made.committed_len
    further = [min(index + 1, branch.shape[1] - 1) for index in path]
    main[1, start : start + len(path)] = branch[1, further]


def _moving_base(main: Rows, branch: Rows, made: Committed, path: list[int]) -> None:
    """The source's base is moved in the loop: the j-th row is read j rows too far."""
    start = made.committed_len
    further = [min(index + offset, branch.shape[1] - 1) for offset, index in enumerate(path)]
    main[:, start : start + len(path)] = branch[:, further]


def _from_the_end(main: Rows, branch: Rows, made: Committed, path: list[int]) -> None:
    """The move within one buffer goes from the end: a row is overwritten before it is read."""
    start, buffer = made.committed_len, branch.clone()
    for offset in reversed(range(len(path))):
        buffer[:, start + offset] = buffer[:, path[offset]]
    main[:, start : start + len(path)] = buffer[:, start : start + len(path)]


def _minus_one_written(main: Rows, branch: Rows, made: Committed, _: list[int]) -> None:
    """A pad with slot -1 is written like any other: to the last slot there was."""
    main[:, made.committed_len - 1] = branch[:, -1]


def _prefix_turned(main: Rows, _: Rows, made: Committed, __: list[int]) -> None:
    """Two prefix rows change places, as when a block table is shifted; their keys carry their positions."""
    if made.committed_len >= 2:
        main[:, :2] = main[:, :2].flip(1)


def _stale_last_row(main: Rows, _: Rows, made: Committed, __: list[int]) -> None:
    """The last row is not written: what stood there before is taken for it."""
    main[:, made.committed_len_after - 1] = main[:, made.committed_len_after - 2]


def _one_layer_short(made: Committed, scene: Scene) -> Committed:
    scene.state.caches.main_cache.layers[-1].truncate(made.committed_len_after - 1)
    return made


def _rejected_row_kept(made: Committed, scene: Scene) -> Committed:
    """The rollback is off by one: a row that was rejected becomes part of the prefix."""
    caches = scene.state.caches
    for layer in range(len(caches.main_cache.layers)):
        branch = _rows(caches.branch_caches[0], layer)
        caches.main_cache.layers[layer].append_rows(branch[:, -1:])
    return made


def _length_misreported(made: Committed, _: Scene) -> Committed:
    return replace(made, committed_len_after=made.committed_len_after + 1)


def _branch_not_caught_up(arguments: Any, scene: Scene) -> Any:
    """The branch is believed to hold the committed rows; it holds the packed tree of the step before."""
    caches = scene.state.caches
    if caches.branch_caches:
        caches.num_shared = min(caches.committed_len, *caches.branch_caches[0].lengths)
    return arguments


def _prefix_overwritten_between_steps(arguments: Any, scene: Scene) -> Any:
    """Another owner of the same memory writes into the first committed row, from the second step on."""
    if scene.memory.setdefault("drafts", 0):
        _rows(scene.state.caches.main_cache, 0)[:, 0] = 0.5
    scene.memory["drafts"] += 1
    return arguments


def _branch_written_through(made: Verified, scene: Scene) -> Verified:
    """The branch shares memory with the committed cache: the tree's last row lands in the prefix."""
    caches = scene.state.caches
    for layer in range(len(caches.main_cache.layers)):
        _rows(caches.main_cache, layer)[:, -1] = _rows(caches.branch_caches[0], layer)[:, -1]
    return made


def _prefix_in_half(made: Prefilled, scene: Scene) -> Prefilled:
    cache = scene.state.caches.main_cache
    for layer in range(len(cache.layers)):
        rows = _rows(cache, layer)
        rows.copy_(rows.bfloat16().to(rows.dtype))
    return made


def _length_always_allowed() -> Placement:
    """The guard of the length commit is gone, and it keeps the first rows of any tree."""
    return on_function(manager, "why_not_length", lambda *_: None)


ROWS: Final = ("JUDGE-COMMIT-ROWS", "KV005", "JUDGE-ROW-MOVED")
PREFIX: Final = ("JUDGE-COMMIT-PREFIX", "KV005")
LENGTH: Final = ("JUDGE-COMMIT-LENGTH", "KV001", "KV005")


def _length_of_the_host(made: Committed, _: Scene) -> Committed:
    """The host's copy of the length is a token behind."""
    return replace(made, committed_len=made.committed_len - 1)


FAULTS: Final = (
    Fault(
        id="F-CACHE-01",
        name="move-never-written",
        about="The accepted rows are moved in a temporary, and the cache keeps the first rows of the tree.",
        stage="commit",
        seen_in=("openvino#38079", "sgl#26866"),
        noticed_by=ROWS,
        place=lambda: _each_layer(_unmoved),
    ),
    Fault(
        id="F-CACHE-02",
        name="values-moved-from-the-next-row",
        about="Keys are moved from the path, values from one row further on.",
        stage="commit",
        seen_in=("mnn#4591",),
        noticed_by=ROWS,
        place=lambda: _each_layer(_wrong_values),
    ),
    Fault(
        id="F-CACHE-03",
        name="compaction-from-a-mutated-base",
        about="The base of the source is moved inside the loop over the path, in every layer but the first.",
        stage="commit",
        seen_in=("mnn#4737",),
        noticed_by=ROWS,
        place=lambda: _each_layer(_moving_base, slice(1, None)),
    ),
    Fault(
        id="F-CACHE-04",
        name="overlapping-move",
        about="Rows are moved inside one buffer in an order that overwrites a row before it is read.",
        stage="commit",
        seen_in=("va#11337", "medusa utils.py, update_inference_inputs"),
        noticed_by=ROWS,
        place=lambda: _each_layer(_from_the_end),
    ),
    Fault(
        id="F-CACHE-05",
        name="length-commit-of-a-tree",
        about="A commit by length keeps the first rows although the path lies elsewhere.",
        stage="commit",
        seen_in=("trt#10343",),
        noticed_by=("KV006", "JUDGE-COMMIT-MODE", *ROWS),
        need="length",
        place=_length_always_allowed,
    ),
    Fault(
        id="F-CACHE-06",
        name="minus-one-written-to-the-last-slot",
        about="A pad's slot -1 is written, and hits the last row of the prefix.",
        stage="commit",
        seen_in=("vllm#43810", "vllm#43869"),
        noticed_by=PREFIX,
        place=lambda: _each_layer(_minus_one_written),
    ),
    Fault(
        id="F-CACHE-07",
        name="prefix-rows-exchanged",
        about="Two rows of the prefix change places; as each carries its position, no output changes.",
        stage="commit",
        seen_in=("va#8908",),
        noticed_by=PREFIX,
        place=lambda: _each_layer(_prefix_turned),
    ),
    Fault(
        id="F-CACHE-08",
        name="stale-last-row",
        about="The last row of the path is not written.",
        stage="commit",
        seen_in=("va#3482", "sgl#22819"),
        noticed_by=ROWS,
        place=lambda: _each_layer(_stale_last_row),
    ),
    Fault(
        id="F-CACHE-09",
        name="one-layer-shorter",
        about="One layer keeps a row less than the others.",
        stage="commit",
        seen_in=("hf#30312",),
        noticed_by=LENGTH,
        place=lambda: after("commit", _one_layer_short),
    ),
    Fault(
        id="F-CACHE-10",
        name="rejected-row-kept",
        about="A rejected row stays behind the accepted ones and becomes part of the prefix.",
        stage="commit",
        seen_in=("kekzl/imp#667", "lmdeploy#4564"),
        noticed_by=LENGTH,
        place=lambda: after("commit", _rejected_row_kept),
    ),
    Fault(
        id="F-CACHE-11",
        name="length-misreported",
        about="The length on the host runs ahead of the cache by one.",
        stage="commit",
        seen_in=("va#12915", "va#8230"),
        noticed_by=LENGTH,
        place=lambda: after("commit", _length_misreported),
    ),
    Fault(
        id="F-CACHE-12",
        name="branch-not-caught-up",
        about="The branch still holds the packed tree of the step before where the committed rows should be.",
        stage="verify",
        seen_in=("vllm#41838", "hf#48280"),
        noticed_by=("JUDGE-VERIFY-KV", "JUDGE-VERIFY-FEATURES", "JUDGE-VERIFY-LOGITS"),
        place=lambda: before("verify", _branch_not_caught_up),
    ),
    Fault(
        id="F-CACHE-13",
        name="prefix-overwritten-between-steps",
        about="A buffer shared with another owner changes a committed row while the drafter runs.",
        stage="draft",
        seen_in=("va#8435", "va#7549"),
        noticed_by=("JUDGE-CACHE-WRITTEN",),
        place=lambda: before("draft", _prefix_overwritten_between_steps),
    ),
    Fault(
        id="F-CACHE-14",
        name="branch-shares-memory",
        about="The tree forward writes into the committed cache.",
        stage="verify",
        seen_in=("sgl#22930", "vllm#32628"),
        noticed_by=("KV004", *PREFIX),
        place=lambda: after("verify", _branch_written_through),
    ),
    Fault(
        id="F-CACHE-15",
        name="prefix-in-half-precision",
        about="The prefix is kept in bfloat16 under a float32 model.",
        stage="prefill",
        seen_in=("sgl#40419", "lmdeploy#4744"),
        noticed_by=("JUDGE-PREFILL-KV",),
        place=lambda: after("prefill", _prefix_in_half),
    ),
    Fault(
        id="F-CACHE-16",
        name="length-before-misreported",
        about="Commit counts from the host's copy of the length, which is a token behind.",
        stage="commit",
        seen_in=("va#12915", "va#8230"),
        noticed_by=("JUDGE-COMMIT-LENGTH",),
        place=lambda: after("commit", since(1, _length_of_the_host)),
    ),
)
