"""Faults of the committed cache: rows moved, left, overwritten; lengths; branches out of step."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch

from tracing.stages import Committed, Prefilled, Verified
from workbench.faults.fault import fault
from workbench.faults.placement import Placement, Placer, Scene, Spoil, after, before, on_function
from workbench.fused.cache import manager

Rows = torch.Tensor
"""A layer's rows as memory, `[2, length, H_kv, D]`: keys, then values."""

ROWS: Final = ("JUDGE-COMMIT-ROWS", "KV005", "JUDGE-ROW-MOVED")
PREFIX: Final = ("JUDGE-COMMIT-PREFIX", "KV005")
LENGTH: Final = ("JUDGE-COMMIT-LENGTH", "KV001", "KV005")


def _rows(cache: Any, layer: int) -> Rows:
    """Return a layer's rows as a view that can be written."""
    found: Rows = cache.layers[layer].rows(0, cache.layers[layer].get_seq_length())
    return found


def _in_layers(layers: slice) -> Placer:
    """Spoil the committed rows of some layers: `(main rows, branch rows, result of commit, path)`."""

    def placer(spoil: Spoil) -> Placement:
        def change(made: Committed, scene: Scene) -> Committed:
            caches, accepted = scene.state.caches, scene.arguments[2]
            for layer in range(len(caches.main_cache.layers))[layers]:
                main, branch = _rows(caches.main_cache, layer), _rows(caches.branch_caches[0], layer)
                spoil(main, branch, made, accepted.path_indices.tolist())
            return made

        return after("commit")(change)

    return placer


IN_EACH_LAYER: Final = _in_layers(slice(None))

row_fault: Final = partial(fault, stage="commit", placed=IN_EACH_LAYER)


@row_fault("F-CACHE-01", "openvino#38079", "sgl#26866", noticed_by=ROWS)
def move_never_written(main: Rows, branch: Rows, made: Committed, path: list[int]) -> None:
    """The accepted rows are moved in a temporary, and the cache keeps the first rows of the tree."""
    start = made.committed_len
    main[:, start : start + len(path)] = branch[:, start : start + len(path)]


@row_fault("F-CACHE-02", "mnn#4591", noticed_by=ROWS)
def values_moved_from_the_next_row(main: Rows, branch: Rows, made: Committed, path: list[int]) -> None:
    """Keys are moved from the path, values from one row further on."""
    start = made.committed_len
    further = [min(index + 1, branch.shape[1] - 1) for index in path]
    main[1, start : start + len(path)] = branch[1, further]


@fault("F-CACHE-03", "mnn#4737", stage="commit", noticed_by=ROWS, placed=_in_layers(slice(1, None)))
def compaction_from_a_mutated_base(main: Rows, branch: Rows, made: Committed, path: list[int]) -> None:
    """The base of the source is moved inside the loop over the path, in every layer but the first."""
    start = made.committed_len
    further = [min(index + offset, branch.shape[1] - 1) for offset, index in enumerate(path)]
    main[:, start : start + len(path)] = branch[:, further]


@row_fault("F-CACHE-04", "va#11337", "medusa utils.py, update_inference_inputs", noticed_by=ROWS)
def overlapping_move(main: Rows, branch: Rows, made: Committed, path: list[int]) -> None:
    """Rows are moved inside one buffer in an order that overwrites a row before it is read."""
    start, buffer = made.committed_len, branch.clone()
    for offset in reversed(range(len(path))):
        buffer[:, start + offset] = buffer[:, path[offset]]
    main[:, start : start + len(path)] = buffer[:, start : start + len(path)]


@fault(
    "F-CACHE-05",
    "trt#10343",
    stage="commit",
    noticed_by=("KV006", "JUDGE-COMMIT-MODE", *ROWS),
    placed=on_function(manager, "why_not_length"),
    need="length",
)
def length_commit_of_a_tree(*_: Any) -> None:
    """A commit by length keeps the first rows although the path lies elsewhere."""


@row_fault("F-CACHE-06", "vllm#43810", "vllm#43869", noticed_by=PREFIX)
def minus_one_written_to_the_last_slot(main: Rows, branch: Rows, made: Committed, _: list[int]) -> None:
    """A pad's slot -1 is written, and hits the last row of the prefix."""
    main[:, made.committed_len - 1] = branch[:, -1]


@row_fault("F-CACHE-07", "va#8908", noticed_by=PREFIX)
def prefix_rows_exchanged(main: Rows, _: Rows, made: Committed, __: list[int]) -> None:
    """Two rows of the prefix change places; as each carries its position, no output changes."""
    if made.committed_len >= 2:
        main[:, :2] = main[:, :2].flip(1)


@row_fault("F-CACHE-08", "va#3482", "sgl#22819", noticed_by=ROWS)
def stale_last_row(main: Rows, _: Rows, made: Committed, __: list[int]) -> None:
    """The last row of the path is not written."""
    main[:, made.committed_len_after - 1] = main[:, made.committed_len_after - 2]


@fault("F-CACHE-09", "hf#30312", stage="commit", noticed_by=LENGTH)
def one_layer_shorter(made: Committed, scene: Scene) -> Committed:
    """One layer keeps a row less than the others."""
    scene.state.caches.main_cache.layers[-1].truncate(made.committed_len_after - 1)
    return made


@fault("F-CACHE-10", "kekzl/imp#667", "lmdeploy#4564", stage="commit", noticed_by=LENGTH)
def rejected_row_kept(made: Committed, scene: Scene) -> Committed:
    """A rejected row stays behind the accepted ones and becomes part of the prefix."""
    caches = scene.state.caches
    for layer in range(len(caches.main_cache.layers)):
        branch = _rows(caches.branch_caches[0], layer)
        caches.main_cache.layers[layer].append_rows(branch[:, -1:])
    return made


@fault("F-CACHE-11", "va#12915", "va#8230", stage="commit", noticed_by=LENGTH)
def length_misreported(made: Committed, _: Scene) -> Committed:
    """The length on the host runs ahead of the cache by one."""
    return replace(made, committed_len_after=made.committed_len_after + 1)


@fault(
    "F-CACHE-12",
    "vllm#41838",
    "hf#48280",
    stage="verify",
    noticed_by=("JUDGE-VERIFY-KV", "JUDGE-VERIFY-FEATURES", "JUDGE-VERIFY-LOGITS"),
    placed=before("verify"),
)
def branch_not_caught_up(arguments: Any, scene: Scene) -> Any:
    """The branch still holds the packed tree of the step before where the committed rows should be."""
    caches = scene.state.caches
    if caches.branch_caches:
        caches.num_shared = min(caches.committed_len, *caches.branch_caches[0].lengths)
    return arguments


@fault(
    "F-CACHE-13",
    "va#8435",
    "va#7549",
    stage="draft",
    noticed_by=("JUDGE-CACHE-WRITTEN",),
    placed=before("draft"),
)
def prefix_overwritten_between_steps(arguments: Any, scene: Scene) -> Any:
    """A buffer shared with another owner changes a committed row while the drafter runs."""
    if scene.memory.setdefault("drafts", 0):
        _rows(scene.state.caches.main_cache, 0)[:, 0] = 0.5
    scene.memory["drafts"] += 1
    return arguments


@fault("F-CACHE-14", "sgl#22930", "vllm#32628", stage="verify", noticed_by=("KV004", *PREFIX))
def branch_shares_memory(made: Verified, scene: Scene) -> Verified:
    """The tree forward writes into the committed cache.

    The tree's last row lands in the prefix.
    """
    caches = scene.state.caches
    for layer in range(len(caches.main_cache.layers)):
        _rows(caches.main_cache, layer)[:, -1] = _rows(caches.branch_caches[0], layer)[:, -1]
    return made


@fault("F-CACHE-15", "sgl#40419", "lmdeploy#4744", stage="prefill", noticed_by=("JUDGE-PREFILL-KV",))
def prefix_in_half_precision(made: Prefilled, scene: Scene) -> Prefilled:
    """The prefix is kept in bfloat16 under a float32 model."""
    cache = scene.state.caches.main_cache
    for layer in range(len(cache.layers)):
        rows = _rows(cache, layer)
        rows.copy_(rows.bfloat16().to(rows.dtype))
    return made


@fault(
    "F-CACHE-16",
    "va#12915",
    "va#8230",
    stage="commit",
    noticed_by=("JUDGE-COMMIT-LENGTH",),
    placed=after("commit", since=1),
)
def length_before_misreported(made: Committed, _: Scene) -> Committed:
    """Commit counts from the host's copy of the length, which is a token behind."""
    return replace(made, committed_len=made.committed_len - 1)
