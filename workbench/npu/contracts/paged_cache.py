"""Contracts of the operators that write keys and values into a paged cache by slot."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from workbench.npu.contracts.rules import UNSUPPORTED, NotModelledError, Rule, catalogue, need, shown
from workbench.npu.contracts.tensors import are_unique, has_values, is_half_or_relaxed

PA: Final = "npu_scatter_pa_kv_cache"
ATB: Final = "_npu_reshape_and_cache"
_PA_PAGE: Final = "op-plugin page of npu_scatter_pa_kv_cache"
_ATB_KERNEL: Final = "reshape_and_cache kernel, ascend-transformer-boost"
_OUTSIDE: Final = "not looked at: writes memory outside the cache"
UNIT: Final = 32
"""Bytes that one copy unit moves."""

PA_DTYPE = Rule(
    "NPU-PA-DTYPE",
    PA,
    "key",
    "float16, bfloat16 or int8 (float32 only off the device), key and caches alike",
    _PA_PAGE,
    UNSUPPORTED,
)
PA_MODE = Rule("NPU-PA-MODE", PA, "cache_mode", "PA_NZ (the default) or Norm", _PA_PAGE, UNSUPPORTED)
PA_RANK = Rule("NPU-PA-RANK", PA, "key", "(T, H, D), the value with the key's T and H", _PA_PAGE, UNSUPPORTED)
PA_CACHE = Rule(
    "NPU-PA-CACHE",
    PA,
    "key_cache",
    "(blocks, block_size, H, D) in Norm, (blocks, H*D/last, block_size, last) with last = 32 bytes in PA_NZ",
    _PA_PAGE,
    UNSUPPORTED,
)
PA_NZ_DIM = Rule(
    "NPU-PA-NZ-DIM", PA, "key", "heads of a multiple of 32 bytes in PA_NZ", _PA_PAGE, UNSUPPORTED
)
PA_CONTIGUOUS = Rule("NPU-PA-CONTIGUOUS", PA, "key", "contiguous tensors", _PA_PAGE, "undefined")
PA_SLOTS = Rule(
    "NPU-PA-SLOTS", PA, "slot_mapping", "int32 or int64, one slot per token", _PA_PAGE, UNSUPPORTED
)
PA_NEGATIVE = Rule(
    "NPU-PA-SLOT-NEGATIVE",
    PA,
    "slot_mapping",
    "slots from 0 up",
    f"{_PA_PAGE}; the kernel source skips negative ones",
    "the token is skipped",
    runs=True,
)
PA_BOUND = Rule(
    "NPU-PA-SLOT-BOUND", PA, "slot_mapping", "slots below blocks * block_size", _PA_PAGE, _OUTSIDE
)
PA_UNIQUE = Rule(
    "NPU-PA-SLOT-UNIQUE",
    PA,
    "slot_mapping",
    "no slot written twice",
    _PA_PAGE,
    "the writes race and one of them stays",
    runs=True,
)
ATB_DTYPE = Rule(
    "NPU-ATB-CACHE-DTYPE",
    ATB,
    "key",
    "float16, bfloat16 or int8 (float32 only off the device), key, value and caches alike",
    _ATB_KERNEL,
    UNSUPPORTED,
)
ATB_SHAPE = Rule(
    "NPU-ATB-CACHE-SHAPE",
    ATB,
    "key_cache",
    "(T, H, D) beside caches (blocks, block_size, H, D)",
    _ATB_KERNEL,
    UNSUPPORTED,
)
ATB_CONTIGUOUS = Rule("NPU-ATB-CACHE-CONTIGUOUS", ATB, "key", "contiguous tensors", _ATB_KERNEL, "undefined")
ATB_UNIT = Rule(
    "NPU-ATB-CACHE-UNIT",
    ATB,
    "key",
    "tokens (H * D values) of a multiple of 32 bytes",
    _ATB_KERNEL,
    "the bytes past the last full 32 are not copied",
)
ATB_SLOTS = Rule(
    "NPU-ATB-SLOTS",
    ATB,
    "slot_indices",
    "int32, one slot per token (int64 is not accepted)",
    _ATB_KERNEL,
    UNSUPPORTED,
)
ATB_BOUND = Rule(
    "NPU-ATB-SLOT-BOUND",
    ATB,
    "slot_indices",
    "slots below blocks * block_size (negative ones are skipped)",
    _ATB_KERNEL,
    _OUTSIDE,
)
ATB_UNIQUE = Rule(
    "NPU-ATB-SLOT-UNIQUE",
    ATB,
    "slot_indices",
    "no slot written twice",
    _ATB_KERNEL,
    "the writes race and one of them stays",
    runs=True,
)

RULES = catalogue(globals())


def check_scatter_pa_kv_cache(
    key: Tensor,
    value: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slot_mapping: Tensor,
    *,
    compress_lens: Tensor | None = None,
    compress_seq_offsets: Tensor | None = None,
    seq_lens: Tensor | None = None,
    cache_mode: str | None = "PA_NZ",
) -> None:
    """Check one call of `npu_scatter_pa_kv_cache`.

    Raises:
        ContractError: naming the rule.
        NotModelledError: for the arguments of compressed caches.
    """
    if any(tensor is not None for tensor in (compress_lens, compress_seq_offsets, seq_lens)):
        raise NotModelledError(
            f"{PA}: compressed caches may be legal, but are not covered; nothing was checked"
        )
    mode = str(cache_mode)
    need(mode in {"PA_NZ", "Norm"}, PA_MODE, cache_mode)
    held = key.dim() == 3 and value.dim() == 3 and key.shape[:2] == value.shape[:2]
    need(held, PA_RANK, f"{shown(key)} beside {shown(value)}")
    for name, tensor, cache in (("key", key, key_cache), ("value", value, value_cache)):
        alike = is_cacheable(tensor) and tensor.dtype is cache.dtype
        need(alike, PA_DTYPE, f"{shown(tensor)} beside {shown(cache)}", argument=name)
        need(tensor.is_contiguous(), PA_CONTIGUOUS, f"strided {tensor.stride()}", argument=name)
        need(cache.is_contiguous(), PA_CONTIGUOUS, f"strided {cache.stride()}", argument=f"{name}_cache")
        if mode == "PA_NZ":
            need(tensor.shape[-1] * tensor.element_size() % UNIT == 0, PA_NZ_DIM, tensor, argument=name)
        expected = cache_axes(tensor, mode, cache)
        need(
            cache.dim() == 4 and tuple(cache.shape[1:]) == expected, PA_CACHE, cache, argument=f"{name}_cache"
        )
    integral = slot_mapping.dtype in {torch.int32, torch.int64}
    need(integral and tuple(slot_mapping.shape) == (key.shape[0],), PA_SLOTS, slot_mapping)
    check_slots(slot_mapping, num_slots(key_cache, mode), (PA_NEGATIVE, PA_BOUND, PA_UNIQUE))


def check_reshape_and_cache(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_indices: Tensor
) -> None:
    """Check one call of `_npu_reshape_and_cache`.

    Raises:
        ContractError: naming the rule.
    """
    for name, tensor, cache in (("key", key, key_cache), ("value", value, value_cache)):
        alike = is_cacheable(tensor) and tensor.dtype is cache.dtype is key.dtype
        need(alike, ATB_DTYPE, f"{shown(tensor)} beside {shown(cache)}", argument=name)
        held = tensor.dim() == 3 and cache.dim() == 4 and cache.shape[2:] == tensor.shape[1:]
        held = held and tensor.shape[0] == key.shape[0] and cache.shape[:2] == key_cache.shape[:2]
        need(held, ATB_SHAPE, f"{shown(cache)} beside {shown(tensor)}", argument=f"{name}_cache")
        contiguous = tensor.is_contiguous() and cache.is_contiguous()
        need(contiguous, ATB_CONTIGUOUS, f"strided {tensor.stride()}, {cache.stride()}", argument=name)
        width = tensor.shape[1] * tensor.shape[2] * tensor.element_size()
        need(width % UNIT == 0, ATB_UNIT, f"{width} bytes", argument=name)
    held = slot_indices.dtype is torch.int32 and tuple(slot_indices.shape) == (key.shape[0],)
    need(held, ATB_SLOTS, slot_indices)
    check_slots(slot_indices, num_slots(key_cache, "Norm"), (None, ATB_BOUND, ATB_UNIQUE))


def check_slots(slots: Tensor, count: int, rules: tuple[Rule | None, Rule, Rule]) -> None:
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
    """Whether the dtype can live in a paged cache."""
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
