"""Writing keys and values by slot, and rows by index: bits are moved, and nothing else may change."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.kernel import Arguments, Draw, Exact, Order, Trial, moved, num_bytes
from workbench.kernels.operators.forms import of_border, poking

UNIT = 32
"""Bytes of the last axis of a fractal cache."""


def slot_rows(cache: Tensor, mode: str) -> Tensor:
    """Return a view [blocks, block_size, ...] of a cache: slot s is [s // block_size, s % block_size]."""
    return cache if mode == "Norm" else cache.transpose(1, 2)


def written(tokens: Tensor, cache: Tensor, slots: Tensor, mode: str) -> Tensor:
    """Return the cache after each token went to its slot; negative slots are skipped."""
    result = cache.clone()
    rows = slot_rows(result, mode)
    size = rows.shape[1]
    for token, slot in zip(tokens, slots.tolist(), strict=True):
        if slot >= 0:
            rows[slot // size, slot % size] = token.reshape(rows.shape[2:])
    return result


def slots_of(arguments: Arguments) -> tuple[Tensor, str]:
    """Return the slot of each token, and the mode of the caches; the ATB form has other names and no mode."""
    if "slot_indices" in arguments:
        return arguments["slot_indices"], "Norm"
    return arguments["slot_mapping"], arguments.get("cache_mode", "PA_NZ")


def truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return key and value cache, token by token."""
    slots, mode = slots_of(arguments)
    caches = ((arguments[name], arguments[f"{name}_cache"]) for name in ("key", "value"))
    return tuple(moved(written(tokens, cache, slots, mode)) for tokens, cache in caches)


def reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return key and value cache, written by one index."""
    slots, mode = slots_of(arguments)
    kept, result = slots >= 0, []
    for name in ("key", "value"):
        cache = arguments[f"{name}_cache"].clone()
        rows, place = slot_rows(cache, mode), slots[kept].long()
        size = rows.shape[1]
        rows[place // size, place % size] = arguments[name][kept].reshape(-1, *rows.shape[2:])
        result.append(cache)
    return tuple(result)


def pa_call(
    draw: Draw,
    tokens: int,
    *,
    block_size: int = 16,
    dtype: torch.dtype = torch.bfloat16,
    mode: str = "Norm",
    in_order: bool = False,
) -> Arguments:
    """Return tokens of 2 heads with D = 32 beside values with D = 16, into any slots (int8: D = 32)."""
    blocks = -(-tokens // block_size) + 2
    slots = draw.permutation(blocks * block_size)[:tokens]
    call: Arguments = {"slot_mapping": slots.sort().values if in_order else slots, "cache_mode": mode}
    for name, dim in (("key", 32), ("value", 32 if dtype is torch.int8 else 16)):
        lanes = UNIT // dtype.itemsize
        flat = (blocks, block_size, 2, dim)
        shape = flat if mode == "Norm" else (blocks, 2 * dim // lanes, block_size, lanes)
        call[name] = draw.normal(tokens, 2, dim).mul(40).to(dtype)
        call[f"{name}_cache"] = draw.normal(*shape).mul(40).to(dtype)
    return call


def atb_call(draw: Draw, tokens: int, *, skipped: int = 0, **options: Any) -> Arguments:
    """Return the same under the names of the ATB form; some tokens are skipped."""
    call = pa_call(draw, tokens, **options)
    slots = call.pop("slot_mapping").int()
    del call["cache_mode"]
    slots[draw.permutation(tokens)[:skipped]] = -1
    return call | {"slot_indices": slots}


def cases(call: Any) -> Iterator[Trial]:
    """Yield what both forms allow."""
    yield Trial("static", partial(call, tokens=60))
    yield Trial("static-fp16", partial(call, tokens=60, dtype=torch.float16))
    yield Trial("int8", partial(call, tokens=20, dtype=torch.int8), form="dynamic")
    yield Trial("in-order", partial(call, tokens=33, in_order=True), form="dynamic")
    for tokens in (1, 15, 16, 17, 65):
        yield Trial(f"tokens-{tokens}", partial(call, tokens=tokens), "tile", "dynamic")
    yield Trial("blocks-of-128", partial(call, tokens=130, block_size=128), "tile", "dynamic")
    odd = poking(call, "key", float("nan"), float("inf"), float("-inf"), -0.0, 2.0**-130, tokens=9)
    yield Trial("bits", odd, "nan", "dynamic")
    yield Trial("empty", partial(call, tokens=0), "empty", "dynamic")


def pa_cases() -> Iterator[Trial]:
    """Yield the fractal form too."""
    yield from cases(pa_call)
    for dtype in (torch.bfloat16, torch.int8):
        build = partial(pa_call, tokens=37, mode="PA_NZ", dtype=dtype)
        yield Trial(f"fractal-{dtype.itemsize * 8}-bit", build, form="dynamic")


def atb_cases() -> Iterator[Trial]:
    """Yield skipped tokens too."""
    yield from cases(atb_call)
    yield Trial("skipped", partial(atb_call, tokens=21, skipped=5), form="dynamic")


def nd_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return the input with each update at its place."""
    result: Tensor = arguments["input"].clone()
    indices, updates = arguments["indices"], arguments["updates"]
    depth = indices.shape[-1]
    rest = result.shape[depth:]
    places = indices.reshape(-1, depth).tolist()
    for place, update in zip(places, updates.reshape(len(places), *rest), strict=True):
        result[tuple(place)] = update
    return (moved(result),)


def nd_call(
    draw: Draw, rows: int, count: int, *, dtype: torch.dtype = torch.bfloat16, depth: int = 1
) -> Arguments:
    """Return updates of some rows, none twice."""
    shape = (rows, 24) if depth == 1 else (rows, 5, 24)
    places = draw.permutation(rows if depth == 1 else rows * 5)[:count]
    indices = places[:, None] if depth == 1 else torch.stack((places // 5, places % 5), -1)
    return {
        "input": draw.normal(*shape).mul(40).to(dtype),
        "indices": indices,
        "updates": draw.normal(count, 24).mul(40).to(dtype),
    }


def nd_cases() -> Iterator[Trial]:
    """Yield the cases of either form."""
    yield Trial("static", partial(nd_call, rows=64, count=20))
    yield Trial("two-axes", partial(nd_call, rows=12, count=31, depth=2), form="dynamic")
    for dtype in (torch.float32, torch.float16, torch.int64, torch.int8, torch.bool):
        build = partial(nd_call, rows=40, count=9, dtype=dtype)
        yield Trial(f"static-{str(dtype).removeprefix('torch.')}", build)
    for count in (1, 15, 16, 17, 513):
        yield Trial(f"rows-{count}", partial(nd_call, rows=520, count=count), "tile", "dynamic")
    odd = poking(nd_call, "updates", float("nan"), float("inf"), -0.0, rows=30, count=7)
    yield Trial("bits", odd, "nan", "dynamic")
    yield Trial("empty", partial(nd_call, rows=4, count=0), "empty", "dynamic")


def token_moves(arguments: Arguments) -> tuple[int, int]:
    """Return bytes of the tokens and their slots, and of the tokens again."""
    tokens = num_bytes(arguments["key"], arguments["value"])
    return tokens + num_bytes(slots_of(arguments)[0]), tokens


def update_moves(arguments: Arguments) -> tuple[int, int]:
    """Return bytes of the updates and their places, and of the updates again."""
    updates = num_bytes(arguments["updates"])
    return updates + num_bytes(arguments["indices"]), updates


_write = partial(of_border, level=1, rule="default")
scatter_pa = _write(
    "npu::npu_scatter_pa_kv_cache",
    about="token t of key and value into slot t of a paged cache",
    truth=truth,
    reference=reference,
    writes=("key_cache", "value_cache"),
    moves=token_moves,
    heavy=partial(pa_call, tokens=4096, block_size=128),
    cases=pa_cases(),
)
reshape_and_cache = _write(
    "atb::_npu_reshape_and_cache",
    about="the same; negative slots are skipped",
    truth=truth,
    reference=reference,
    writes=("key_cache", "value_cache"),
    moves=token_moves,
    heavy=partial(atb_call, tokens=4096, block_size=128),
    cases=atb_cases(),
)


def nd_reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return the updated copy, written by one index."""
    result, depth = arguments["input"].clone(), arguments["indices"].shape[-1]
    places = tuple(arguments["indices"].reshape(-1, depth).long().unbind(-1))
    result[places] = arguments["updates"].reshape(-1, *result.shape[depth:])
    return (result,)


def nd_in_place_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return the result, as returned and as written."""
    return nd_truth(arguments) * 2


scatter_nd = _write(
    "npu::npu_scatter_nd_update",
    about="a copy with rows replaced by index",
    truth=nd_truth,
    reference=nd_reference,
    cases=nd_cases(),
)
scatter_nd_in_place = _write(
    "npu::npu_scatter_nd_update_",
    about="the same in place",
    truth=nd_in_place_truth,
    reference=lambda arguments, order: nd_reference(arguments, order) * 2,
    writes=("input",),
    moves=update_moves,
    cases=nd_cases(),
)
