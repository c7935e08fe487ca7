"""`npu_fused_infer_attention_score` v1 and v2: unpack the layout, attend, pack the layout."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.npu.definition import not_modelled, operator
from workbench.npu.emulation.attention import AttentionInputs, attend
from workbench.npu.emulation.layouts import from_bsnd, to_bsnd
from workbench.npu.emulation.ragged import in_use, pack, unpack
from workbench.npu.operators.fused_infer_attention.call import OPERATOR, UNMODELLED, V2_NAMES, FiaCall
from workbench.npu.operators.fused_infer_attention.columns import blocked_columns, repairs_rows, seen_columns
from workbench.npu.operators.fused_infer_attention.lengths import (
    check_blocks,
    check_given,
    check_lengths,
    check_paging,
)
from workbench.npu.operators.fused_infer_attention.masks import check_mask
from workbench.npu.operators.fused_infer_attention.options import check_options
from workbench.npu.operators.fused_infer_attention.tensors import check_layout, check_shapes

COVERS = "unquantised attention without rope tensors, shared prefix and left padding"


def check(call: FiaCall) -> None:
    """Check one call, in the order in which later checks need earlier ones.

    An empty query has an empty result, whatever the other arguments are.
    """
    if call.input_layout in UNMODELLED:
        not_modelled(OPERATOR, f"input_layout {call.input_layout}", COVERS)
    check_layout(call)
    if call.query.numel() == 0:
        return
    check_shapes(call)
    check_options(call)
    check_given(call)
    check_paging(call)
    check_lengths(call)
    check_blocks(call)
    check_mask(call)


def attention(call: FiaCall) -> tuple[Tensor, Tensor]:
    """Attend.

    Returns:
        attention output in the output layout and the query's dtype; log-sum-exp float32 [B, N, Q_S, 1]
        (packed: [T, N, 1]), of shape (0,) unless asked for.
    """
    query = to_bsnd(call.query, call.layout, call.num_heads)
    if call.query.numel() == 0:
        return shaped(call, query.transpose(1, 2), query[..., 0].float().transpose(1, 2))
    if call.is_packed:
        query = unpack(query, call.query_lens)
    key, value = keys_and_values(call)
    result = attend(
        AttentionInputs(
            query=query.transpose(1, 2),
            key=key,
            value=value,
            scale=call.scale,
            seen=with_heads(seen_columns(call)),
            blocked=with_heads(blocked_columns(call)),
            bias=call.pse_shift,
            sink=call.learnable_sink,
            repair_rows=repairs_rows(call),
        )
    )
    return shaped(call, result.out, result.lse)


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
    rows = to_bsnd(tensor, call.layout, call.kv_heads)
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


def with_heads(columns: Tensor | None) -> Tensor | None:
    """Put a head axis of 1 into a bool [B, S, S_kv]."""
    return None if columns is None else columns.unsqueeze(1)


def shaped(call: FiaCall, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    """Return output and log-sum-exp in the shapes that the operator returns.

    Args:
        call: The call.
        out: [B, N, S, D_v].
        lse: float32 [B, N, S].
    """
    out, lse = out.transpose(1, 2), lse.transpose(1, 2)
    if call.is_packed:
        out, lse = pack(out, call.query_lens), pack(lse, call.query_lens)
    packed = from_bsnd(out, call.input_layout.rpartition("_")[2])
    if not call.softmax_lse_flag:
        return packed, torch.empty(0, dtype=torch.float32, device=out.device)
    kept = lse.squeeze(0) if call.is_packed else lse.transpose(1, 2)
    return packed, kept.unsqueeze(-1).contiguous()


npu_fused_infer_attention_score = operator(f"npu::{OPERATOR}", check=check, arguments=FiaCall, covers=COVERS)(
    attention
)
npu_fused_infer_attention_score_v2 = operator(
    f"npu::{OPERATOR}_v2", check=check, arguments=FiaCall, names=V2_NAMES, covers=COVERS
)(attention)
