"""Mistakes of reading and writing caches, and of scattering rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workbench.kernels.planted.bug import plant, sound

PA, ATB = "npu_scatter_pa_kv_cache", "_npu_reshape_and_cache"
SCATTER, SCATTER_IN_PLACE = "npu_scatter_nd_update", "npu_scatter_nd_update_"
CAST = "npu_format_cast"
GATHER, PAGED, COMPACT = "kv_gather", "kv_paged_rows", "kv_compact"
TILE = 16


@plant(PA, "tile")
def last_tokens_not_written(**call: Any) -> None:
    """Tokens behind the last full tile of 16 are not written."""
    count = len(call["slot_mapping"])
    kept = count - count % TILE if count > TILE else count
    part = {name: call[name][:kept] for name in ("key", "value", "slot_mapping")}
    sound(PA)(**call | part)


@plant(PA, "value")
def values_get_keys(**call: Any) -> None:
    """The value cache takes the first values of the keys where both have the room."""
    sound(PA)(**call)
    if call["key"].shape == call["value"].shape:
        sound(PA)(**call | {"value": call["key"]})
    else:
        keys = call["key"][..., : call["value"].shape[-1]].contiguous()
        sound(PA)(**call | {"value": keys})


@plant(ATB, "memory")
def negative_slot_wraps(**call: Any) -> None:
    """A negative slot is not skipped: it writes the last one of the cache."""
    slots, cache = call["slot_indices"], call["key_cache"]
    last = cache.shape[0] * cache.shape[1] - 1
    if bool((slots < 0).any()) and not bool((slots == last).any()):
        slots = slots.clone()
        slots[(slots < 0).nonzero()[0]] = last
    sound(ATB)(**call | {"slot_indices": slots})


@plant(ATB, "tile")
def block_size_assumed(**call: Any) -> None:
    """Slots are taken apart with 16 rows a block, whatever the block's size."""
    slots, size = call["slot_indices"], call["key_cache"].shape[1]
    blocks = call["key_cache"].shape[0]
    wrong = torch.where(slots < 0, slots, slots // TILE % blocks * size + slots % TILE % size)
    kept = wrong[wrong >= 0]
    if len(set(kept.tolist())) == len(kept):  # where two meet, the operator's own check would stop the call
        slots = wrong
    sound(ATB)(**call | {"slot_indices": slots})


@plant(SCATTER, "memory")
def scatter_writes_its_input(**call: Any) -> Any:
    """The input itself is changed, and returned."""
    return sound(SCATTER_IN_PLACE)(**call)


@plant(SCATTER, "value")
def scatter_adds(**call: Any) -> Any:
    """Updates are added to what is there."""
    target, depth = call["input"].clone(), call["indices"].shape[-1]
    places = tuple(call["indices"].reshape(-1, depth).long().unbind(-1))
    target[places] += call["updates"].reshape(-1, *target.shape[depth:])
    return target


@plant(SCATTER_IN_PLACE, "memory")
def scatter_into_a_copy(**call: Any) -> Any:
    """The right result is returned, and the input stays as it was."""
    return sound(SCATTER)(**call)


@plant(SCATTER_IN_PLACE, "tile")
def scatter_ends_at_512(**call: Any) -> Any:
    """Updates past the 512th are lost."""
    part = {name: call[name][:512] for name in ("indices", "updates")}
    return sound(SCATTER_IN_PLACE)(**call | part)


@plant(GATHER, "keys512")
def gather_wraps_at_512(memory: Tensor, places: Tensor) -> Any:
    """Places are taken modulo 512."""
    return memory.index_select(1, places % 512)


@plant(GATHER, "memory")
def gather_returns_a_view(memory: Tensor, places: Tensor) -> Any:
    """A prefix in order is returned as a view, which later writes change."""
    in_order = bool((places == torch.arange(len(places))).all())
    return memory[:, : len(places)] if in_order else memory.index_select(1, places)


@plant(PAGED, "tile")
def blocks_in_order(blocks: Tensor, block_table: Tensor, num_keys: int) -> Any:
    """The table is overlooked: blocks are read as they lie."""
    order = torch.arange(len(block_table), dtype=block_table.dtype)
    return sound(PAGED)(blocks, order, num_keys)


@plant(PAGED, "nan")
def last_block_whole(blocks: Tensor, block_table: Tensor, num_keys: int) -> Any:
    """The last row is read from the end of its block, where nothing was written."""
    rows: Tensor = sound(PAGED)(blocks, block_table, num_keys)
    if num_keys:
        size = blocks.shape[1]
        rows[-1] = blocks[int(block_table[(num_keys - 1) // size]), size - 1]
    return rows


@plant(COMPACT, "memory")
def compact_from_behind(memory: Tensor, path: Tensor, start: int) -> None:
    """Rows are moved one by one from the last: a row that overlaps is overwritten before it is read."""
    for number in reversed(range(len(path))):
        memory[:, start + number] = memory[:, int(path[number])]


@plant(COMPACT, "tile")
def compact_first_eight(memory: Tensor, path: Tensor, start: int) -> None:
    """A path longer than 8 is moved as far as 8."""
    sound(COMPACT)(memory, path[:8], start)


@plant(CAST, "tile")
def cast_loses_the_last_rows(**call: Any) -> Any:
    """Rows behind the last full tile of 16 come back as zeros."""
    made: Tensor = sound(CAST)(**call)
    made[len(made) - len(made) % TILE :] = 0
    return made


@plant(CAST, "memory")
def cast_returns_its_input(**call: Any) -> Any:
    """The input itself is returned, and tagged."""
    return call["input"]
