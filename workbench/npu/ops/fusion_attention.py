"""Twin of `npu_fusion_attention`, forward only."""

from __future__ import annotations

from functools import wraps
from typing import Any, Final

import torch
from torch import Tensor

from workbench.npu.contracts.fusion.call import FusionCall, read_call
from workbench.npu.contracts.fusion.check import check_call
from workbench.npu.ops.attention import AttentionInputs, attend
from workbench.npu.ops.ragged import in_use, pack, unpack

COPIES: Final = 8
"""How often the kernel repeats each softmax statistic along the last axis."""


@wraps(read_call)
def npu_fusion_attention(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, int, int, int]:
    """Attend as the training operator does, without dropout.

    Returns:
        output in the layout of the query; softmax maximum and sum, float32 [B, N, S, 8] (TND: [T, N, 8]); an
        empty reserved tensor; seed, offset and numels of the dropout, all 0.

    Raises:
        ContractError: when the call breaks a rule.
        NotModelledError: for bias, dropout, prefix, sink, bands and the modes 4 to 8.
    """
    call = check_call(read_call(*args, **kwargs))
    query, key, value = padded(call)
    result = attend(
        AttentionInputs(
            query=query.transpose(1, 2),
            key=key.transpose(1, 2),
            value=value.transpose(1, 2),
            scale=call.scale,
            seen=seen_columns(call, query.shape[1], key.shape[1]),
            blocked=call.mask,
            repair_rows=call.repairs_rows,
        )
    )
    out = result.out.transpose(1, 2)
    top, total = (each.unsqueeze(-1).repeat(1, 1, 1, COPIES) for each in (result.top, result.total))
    if call.query_lens:
        out = pack(out, call.query_lens)
        top, total = (pack(each.transpose(1, 2), call.query_lens).squeeze(0) for each in (top, total))
    reserved = torch.empty(0, dtype=query.dtype, device=query.device)
    return in_layout(out, call.layout), top.contiguous(), total.contiguous(), reserved, 0, 0, 0


def padded(call: FusionCall) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and value [B, S, heads, D], one row per request."""
    if not call.query_lens or not call.kv_lens:
        return call.query, call.key, call.value
    keys, values = unpack(call.key, call.kv_lens), unpack(call.value, call.kv_lens)
    return unpack(call.query, call.query_lens), keys, values


def seen_columns(call: FusionCall, rows: int, columns: int) -> Tensor | None:
    """Return bool [B or 1, 1, S or 1, S_kv] of the columns that are processed; None when it is all of them.

    Mode 2 is causal from the top left, mode 3 from the bottom right of each request.
    """
    device = call.query.device
    seen = in_use(call.kv_lens, columns, device)[:, None, None] if call.kv_lens else None
    if call.sparse_mode not in {2, 3}:
        return seen
    ahead = torch.arange(columns, device=device) - torch.arange(rows, device=device)[:, None]
    shift = torch.zeros(1, dtype=torch.int64, device=device)
    if call.sparse_mode == 3:
        query_lens, kv_lens = call.query_lens or [rows], call.kv_lens or [columns]
        shift = torch.tensor(kv_lens, device=device) - torch.tensor(query_lens, device=device)
    causal = ahead <= shift[:, None, None, None]
    return causal if seen is None else seen & causal


def in_layout(out: Tensor, layout: str) -> Tensor:
    """Return [B, S, N, D] contiguous in the layout."""
    if layout == "TND":
        return out.squeeze(0).contiguous()
    if layout == "BNSD":
        return out.transpose(1, 2).contiguous()
    if "H" in layout:
        out = out.flatten(2)
    return (out.transpose(0, 1) if layout == "SBH" else out).contiguous()
