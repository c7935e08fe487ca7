"""Keys and values of a fused attention call as [B, KVN, S_kv, D], contiguous or paged."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.npu.emulation.layouts import to_bsnd
from workbench.npu.emulation.ragged import in_use, unpack
from workbench.npu.operators.fused_infer_attention.call import FiaCall
from workbench.npu.operators.fused_infer_attention.layouts import input_layout


def keys_and_values(call: FiaCall) -> tuple[Tensor, Tensor]:
    """Return key [B, KVN, S_kv, D] and value [B, KVN, S_kv, D_v] of a checked call.

    S_kv is `call.padded_columns`. Keys past a request's length are arbitrary and must not be seen;
    such values are zero, because the kernel never reads them while 0 times a stale NaN would be NaN here.
    """
    if call.block_table is None:
        key, value = contiguous(call, call.key), contiguous(call, call.value)
    else:
        key, value = (from_blocks(call, call.block_table, cache) for cache in (call.key, call.value))
    if min(call.kv_lens, default=0) < call.padded_columns:
        used = in_use(call.kv_lens, call.padded_columns, value.device)
        value = value.masked_fill(~used[:, None, :, None], 0)
    return key, value


def contiguous(call: FiaCall, tensor: Tensor) -> Tensor:
    """Return a contiguous key or value tensor as [B, KVN, S_kv, D]."""
    rows = to_bsnd(tensor, input_layout(call.input_layout), call.kv_heads)
    if call.is_packed:
        rows = unpack(rows, call.kv_lens)
    return rows[:, : call.padded_columns].transpose(1, 2)


def from_blocks(call: FiaCall, table: Tensor, cache: Tensor) -> Tensor:
    """Gather the blocks in use of a paged cache into [B, KVN, width, D].

    Table entries past a request's last block may hold anything, so they read block 0 instead.
    """
    width = call.padded_columns // call.block_size
    sizes = torch.tensor(call.kv_lens, device=table.device)
    starts = torch.arange(width, device=table.device) * call.block_size
    ids = table[: len(call.kv_lens), :width].long()
    ids = torch.where(starts < sizes[:, None], ids, 0)
    blocks = heads_first(cache, call.kv_heads)[ids]  # [B, width, KVN, block_size, D]
    return blocks.transpose(1, 2).flatten(2, 3)


def heads_first(cache: Tensor, kv_heads: int) -> Tensor:
    """View a paged cache of any form as [blocks, KVN, block_size, D].

    Args:
        cache: 3-D (blocks, block_size, KVN*D), 4-D (blocks, KVN, block_size, D) or
            5-D (blocks, KVN, D/16, block_size, 16).
        kv_heads: KVN.
    """
    if cache.dim() == 3:
        return cache.view(*cache.shape[:2], kv_heads, cache.shape[2] // kv_heads).transpose(1, 2)
    if cache.dim() == 5:
        return cache.transpose(2, 3).flatten(3)
    return cache
