"""Twin of `npu_fused_infer_attention_score` v1 and v2: unpack the layout, attend, pack the layout."""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from torch import Tensor

from workbench.npu.contracts.fia.call import FiaCall
from workbench.npu.contracts.fia.check import check_call
from workbench.npu.contracts.fia.columns import blocked_columns, repairs_rows, seen_columns
from workbench.npu.contracts.fia.layouts import from_bsnd, input_layout, output_layout, to_bsnd
from workbench.npu.contracts.fia.read import read_v1, read_v2
from workbench.npu.ops.attention import AttentionInputs, attend
from workbench.npu.ops.fia_keys import keys_and_values
from workbench.npu.ops.ragged import pack, unpack


@wraps(read_v1)
def npu_fused_infer_attention_score(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Attend as v1 does.

    Returns:
        attention output in the output layout and the query's dtype; log-sum-exp float32 [B, N, Q_S, 1]
        (packed: [T, N, 1]), of shape (0,) unless asked for.

    Raises:
        ContractError: when the call breaks a rule.
        NotModelledError: for arguments that the twin does not cover.
    """
    return run(read_v1(*args, **kwargs))


@wraps(read_v2)
def npu_fused_infer_attention_score_v2(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Attend as v2 does; see v1."""
    return run(read_v2(*args, **kwargs))


def run(call: FiaCall) -> tuple[Tensor, Tensor]:
    """Check and compute one call."""
    check_call(call)
    if call.query.numel() == 0:
        return empty(call)
    query = to_bsnd(call.query, input_layout(call.input_layout), call.num_heads)
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


def with_heads(columns: Tensor | None) -> Tensor | None:
    """Put a head axis of 1 into a bool [B, S, S_kv]."""
    return None if columns is None else columns.unsqueeze(1)


def empty(call: FiaCall) -> tuple[Tensor, Tensor]:
    """Return the empty results of an empty query."""
    query = to_bsnd(call.query, input_layout(call.input_layout), call.num_heads)
    return shaped(call, query.transpose(1, 2), query[..., 0].float().transpose(1, 2))


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
    packed = from_bsnd(out, output_layout(call.input_layout))
    if not call.softmax_lse_flag:
        return packed, torch.empty(0, dtype=torch.float32, device=out.device)
    kept = lse.squeeze(0) if call.is_packed else lse.transpose(1, 2)
    return packed, kept.unsqueeze(-1).contiguous()
