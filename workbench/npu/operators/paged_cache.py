"""`npu_scatter_pa_kv_cache` and `_npu_reshape_and_cache`: write keys and values by slot."""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import ContractRule, are_unique, has_values, is_half_or_relaxed, need, shown
from workbench.npu.definition import operator

PA: Final = "npu_scatter_pa_kv_cache"
ATB: Final = "_npu_reshape_and_cache"
_PAGE: Final = "op-plugin page of npu_scatter_pa_kv_cache"
_pa: Final = partial(ContractRule, operator=PA, source=_PAGE)
_atb: Final = partial(ContractRule, operator=ATB, source="reshape_and_cache kernel, ascend-transformer-boost")
_OUTSIDE: Final = "not looked at: writes memory outside the cache"
_RACE: Final = "the writes race and one of them stays"
UNIT: Final = 32
"""Bytes that one copy unit moves."""

PA_DTYPE = _pa(
    "NPU-PA-DTYPE", "key", "float16, bfloat16 or int8 (float32 only off the device), key and caches alike"
)
PA_MODE = _pa("NPU-PA-MODE", "cache_mode", "PA_NZ (the default) or Norm")
PA_RANK = _pa("NPU-PA-RANK", "key", "(T, H, D), the value with the key's T and H")
PA_CACHE = _pa(
    "NPU-PA-CACHE",
    "key_cache",
    "(blocks, block_size, H, D) in Norm, (blocks, H*D/last, block_size, last) with last = 32 bytes in PA_NZ",
)
PA_NZ_DIM = _pa("NPU-PA-NZ-DIM", "key", "heads of a multiple of 32 bytes in PA_NZ")
PA_CONTIGUOUS = _pa("NPU-PA-CONTIGUOUS", "key", "contiguous tensors", device="undefined")
PA_SLOTS = _pa("NPU-PA-SLOTS", "slot_mapping", "int32 or int64, one slot per token")
PA_NEGATIVE = _pa(
    "NPU-PA-SLOT-NEGATIVE",
    "slot_mapping",
    "slots from 0 up",
    source=f"{_PAGE}; the kernel source skips negative ones",
    device="the token is skipped",
    runs=True,
)
PA_BOUND = _pa("NPU-PA-SLOT-BOUND", "slot_mapping", "slots below blocks * block_size", device=_OUTSIDE)
PA_UNIQUE = _pa("NPU-PA-SLOT-UNIQUE", "slot_mapping", "no slot written twice", device=_RACE, runs=True)
ATB_DTYPE = _atb(
    "NPU-ATB-CACHE-DTYPE",
    "key",
    "float16, bfloat16 or int8 (float32 only off the device), key, value and caches alike",
)
ATB_SHAPE = _atb("NPU-ATB-CACHE-SHAPE", "key_cache", "(T, H, D) beside caches (blocks, block_size, H, D)")
ATB_CONTIGUOUS = _atb("NPU-ATB-CACHE-CONTIGUOUS", "key", "contiguous tensors", device="undefined")
ATB_UNIT = _atb(
    "NPU-ATB-CACHE-UNIT",
    "key",
    "tokens (H * D values) of a multiple of 32 bytes",
    device="the bytes past the last full 32 are not copied",
)
ATB_SLOTS = _atb("NPU-ATB-SLOTS", "slot_indices", "int32, one slot per token (int64 is not accepted)")
ATB_BOUND = _atb(
    "NPU-ATB-SLOT-BOUND",
    "slot_indices",
    "slots below blocks * block_size (negative ones are skipped)",
    device=_OUTSIDE,
)
ATB_UNIQUE = _atb("NPU-ATB-SLOT-UNIQUE", "slot_indices", "no slot written twice", device=_RACE, runs=True)


def check_scatter(
    *,
    key: Tensor,
    value: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slot_mapping: Tensor,
    cache_mode: str | None,
) -> None:
    """Check one call of `npu_scatter_pa_kv_cache`."""
    mode = str(cache_mode)
    need(mode in {"PA_NZ", "Norm"}, PA_MODE, cache_mode)
    held = key.dim() == 3 and value.dim() == 3 and key.shape[:2] == value.shape[:2]
    need(held, PA_RANK, f"{shown(key)} with {shown(value)}")
    for name, tensor, cache in (("key", key, key_cache), ("value", value, value_cache)):
        alike = is_cacheable(tensor) and tensor.dtype is cache.dtype
        need(alike, PA_DTYPE, f"{shown(tensor)} with {shown(cache)}", name)
        need(tensor.is_contiguous(), PA_CONTIGUOUS, f"strided {tensor.stride()}", name)
        need(cache.is_contiguous(), PA_CONTIGUOUS, f"strided {cache.stride()}", f"{name}_cache")
        if mode == "PA_NZ":
            need(tensor.shape[-1] * tensor.element_size() % UNIT == 0, PA_NZ_DIM, tensor, name)
        expected = cache_axes(tensor, mode, cache)
        fits = cache.dim() == 4 and tuple(cache.shape[1:]) == expected
        need(fits, PA_CACHE, cache, f"{name}_cache")
    integral = slot_mapping.dtype in {torch.int32, torch.int64}
    need(integral and tuple(slot_mapping.shape) == (key.shape[0],), PA_SLOTS, slot_mapping)
    check_slots(slot_mapping, num_slots(key_cache, mode), (PA_NEGATIVE, PA_BOUND, PA_UNIQUE))


def check_reshape(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_indices: Tensor
) -> None:
    """Check one call of `_npu_reshape_and_cache`."""
    for name, tensor, cache in (("key", key, key_cache), ("value", value, value_cache)):
        alike = is_cacheable(tensor) and tensor.dtype is cache.dtype is key.dtype
        need(alike, ATB_DTYPE, f"{shown(tensor)} with {shown(cache)}", name)
        held = tensor.dim() == 3 and cache.dim() == 4 and cache.shape[2:] == tensor.shape[1:]
        held = held and tensor.shape[0] == key.shape[0] and cache.shape[:2] == key_cache.shape[:2]
        need(held, ATB_SHAPE, f"{shown(cache)} with {shown(tensor)}", f"{name}_cache")
        contiguous = tensor.is_contiguous() and cache.is_contiguous()
        need(contiguous, ATB_CONTIGUOUS, f"strided {tensor.stride()}, {cache.stride()}", name)
        width = tensor.shape[1] * tensor.shape[2] * tensor.element_size()
        need(width % UNIT == 0, ATB_UNIT, f"{width} bytes", name)
    held = slot_indices.dtype is torch.int32 and tuple(slot_indices.shape) == (key.shape[0],)
    need(held, ATB_SLOTS, slot_indices)
    check_slots(slot_indices, num_slots(key_cache, "Norm"), (None, ATB_BOUND, ATB_UNIQUE))


def check_slots(
    slots: Tensor, count: int, rules: tuple[ContractRule | None, ContractRule, ContractRule]
) -> None:
    """Check slot values against (negative, bound, unique) rules; a None rule lets negatives be skipped."""
    if slots.numel() == 0 or not has_values(slots):
        return
    negative, bound, unique = rules
    low, high = (int(number) for number in torch.aminmax(slots))
    if negative is not None:
        need(low >= 0, negative, low)
    need(high < count, bound, f"{high} of {count} slots")
    need(are_unique(slots[slots >= 0]), unique, "a repeated slot")


def is_cacheable(tensor: Tensor) -> bool:
    """Whether a paged cache can hold the dtype."""
    return tensor.dtype is torch.int8 or is_half_or_relaxed(tensor)


def cache_axes(tensor: Tensor, mode: str, cache: Tensor) -> tuple[int, ...]:
    """Return the axes after `blocks` that a cache of `tensor` has; the block size is the cache's own."""
    heads, dim = tensor.shape[1:]
    if mode == "Norm":
        return (cache.shape[1] if cache.dim() == 4 else 0, heads, dim)
    lanes = UNIT // tensor.element_size()
    return (heads * dim // lanes, cache.shape[2] if cache.dim() == 4 else 0, lanes)


def num_slots(cache: Tensor, mode: str) -> int:
    """Return blocks * block_size."""
    return int(cache.shape[0] * cache.shape[1 if mode == "Norm" else 2])


@operator(f"npu::{PA}", check=check_scatter, covers="caches without compression")
def npu_scatter_pa_kv_cache(
    *,
    key: Tensor,
    value: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slot_mapping: Tensor,
    cache_mode: str | None,
) -> None:
    """Write the token t of key and value into slot `slot_mapping[t]` of the caches.

    Args:
        key: [T, H, D].
        value: [T, H, D_v].
        key_cache: Norm: [blocks, block_size, H, D]; PA_NZ: [blocks, H*D/last, block_size, last].
        value_cache: As `key_cache`.
        slot_mapping: int32 or int64 [T], block * block_size + offset.
        cache_mode: `PA_NZ` or `Norm`.
    """
    for tokens, cache in ((key, key_cache), (value, value_cache)):
        write_tokens(tokens, cache if cache_mode == "Norm" else cache.transpose(1, 2), slot_mapping)


@operator(f"atb::{ATB}", check=check_reshape)
def npu_reshape_and_cache(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_indices: Tensor
) -> None:
    """Write the token t of key and value into slot `slot_indices[t]`; a negative slot is skipped.

    Args:
        key: [T, H, D].
        value: [T, H, D_v].
        key_cache: [blocks, block_size, H, D].
        value_cache: [blocks, block_size, H, D_v].
        slot_indices: int32 [T].
    """
    for tokens, cache in ((key, key_cache), (value, value_cache)):
        write_tokens(tokens, cache, slot_indices)


def write_tokens(tokens: Tensor, cache: Tensor, slots: Tensor) -> None:
    """Write tokens [T, H, D] at their slots of a [blocks, block_size, X, Y] view with X * Y = H * D.

    Negative slots are skipped; of repeated ones (hardware mode) the last one stays here.
    """
    kept = slots >= 0
    place = slots[kept].long()
    block_size = cache.shape[1]
    rows = tokens[kept].reshape(-1, *cache.shape[2:])
    cache[place // block_size, place % block_size] = rows
