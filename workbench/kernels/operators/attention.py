"""Fused attention: trees, decoding, paged and packed rows; scores and softmax in float32, as documented."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.calls.fused_infer_attention import FIA, FIA_V2, V2_FROM_V1
from workbench.kernels.calls.fusion_attention import FUSION
from workbench.kernels.kernel import Arguments, Exact, Order
from workbench.kernels.operators.attention_cases import (
    fusion_cases,
    inference_cases,
    sink_cases,
    training,
    tree,
)
from workbench.kernels.operators.attention_truth import AttendedRows, attended, requests
from workbench.kernels.operators.forms import of_border

V1_NAMES = {name: v1 for v1, name in V2_FROM_V1.items()} | {"head_num": "num_heads"}
COPIES = 8
"""How often the training operator repeats the maximum and the sum of a row."""


def as_v1(arguments: Arguments) -> Arguments:
    """Return arguments under the names of v1."""
    return {V1_NAMES.get(name, name): value for name, value in arguments.items()}


def answers(call: Arguments, dtype: torch.dtype, **options: Any) -> list[AttendedRows]:
    """Return what every request of a call becomes."""
    heads = call["num_heads"]
    kv_heads = call.get("num_key_value_heads") or heads
    scale = call.get("scale", 1.0)
    return [attended(one, scale, dtype, **options) for one in requests(call, heads, kv_heads)]


def joined(call: Arguments, parts: list[Tensor]) -> Tensor:
    """Return rows [S, N, X] of the requests in the layout of the query."""
    layout = call["input_layout"]
    if layout == "TND":
        return torch.cat(parts)
    rows = torch.stack(parts)
    if layout == "BNSD":
        return rows.transpose(1, 2).contiguous()
    return rows.flatten(2) if layout == "BSH" else rows


def log_sums(call: Arguments, found: list[AttendedRows]) -> Tensor:
    """Return the log-sum-exp [B, N, S, 1] (packed [T, N, 1]), +inf where nothing is seen; (0,) if unasked."""
    if not call.get("softmax_lse_flag"):
        return found[0].out.new_empty(0)
    rows = [(one.top + one.total.log()).masked_fill(one.total == 0, math.inf) for one in found]
    if call["input_layout"] == "TND":
        return torch.cat(rows)[..., None]
    return torch.stack(rows).transpose(1, 2)[..., None]


def inference_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return exact output and log-sum-exp."""
    call = as_v1(arguments)
    found = answers(call, torch.float64)
    query = call["query"]
    lse = log_sums(call, found)
    terms, steep = size_of(call, found)
    return (
        Exact(
            joined(call, [one.out for one in found]),
            query.dtype,
            spread=joined(call, [one.spread for one in found]),
            terms=terms,
        ),
        Exact(lse, torch.float32, spread=torch.full_like(lse, 1 + steep), terms=terms),
    )


def size_of(call: Arguments, found: list[AttendedRows]) -> tuple[int, float]:
    """Return how many roundings an output gathers, and the largest score.

    A score s is rounded by |s| units, and its weight by as much in proportion: as if the sum over the keys
    had s squared more terms.
    """
    steep = max((float(one.steep.max()) for one in found if one.steep.numel()), default=0.0)
    keys = call["key"].numel() // max(1, call["key"].shape[-1])
    return max(1, keys) + int(4 * steep**2), steep


def inference_reference(arguments: Arguments, order: Order) -> tuple[Tensor, ...]:
    """Return output and log-sum-exp of plain torch: float32, weights rounded to the dtype of the values."""
    call = as_v1(arguments)
    dtype = call["query"].dtype
    found = answers(call, torch.float32, rounded=dtype, order=order)
    return joined(call, [one.out for one in found]).to(dtype), log_sums(call, found)


def training_answers(
    arguments: Arguments, dtype: torch.dtype, **options: Any
) -> tuple[Arguments, list[AttendedRows]]:
    """Return the call under the names of v1, and what its requests become."""
    call = as_v1(arguments)
    layout, key = call["input_layout"], call["key"]
    if layout == "BSH":
        call["num_key_value_heads"] = key.shape[-1] * call["num_heads"] // call["query"].shape[-1]
    else:
        call["num_key_value_heads"] = key.shape[layout.index("N")]
    for name in ("actual_seq_lengths", "actual_seq_lengths_kv"):
        totals = list(call.get(name) or [])
        while totals and totals[-1] == 0:  # requests at the end without rows are left out
            totals.pop()
        call[name] = totals or None
    return call, answers(call, dtype, **options)


def statistics(call: Arguments, found: list[AttendedRows]) -> tuple[Tensor, Tensor]:
    """Return maxima and sums [B, N, S, 8] (packed [T, N, 8])."""
    parts = ([one.top for one in found], [one.total for one in found])
    packed = call["input_layout"] == "TND"
    both = (torch.cat(each) if packed else torch.stack(each).transpose(1, 2) for each in parts)
    top, total = (one[..., None].expand(*one.shape, COPIES).contiguous() for one in both)
    return top, total


def training_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return exact output, maxima and sums; of rows that see nothing only the output is promised."""
    call, found = training_answers(arguments, torch.float64)
    top, total = statistics(call, found)
    terms, steep = size_of(call, found)
    nothing = total == 0
    return (
        Exact(
            joined(call, [one.out for one in found]),
            call["query"].dtype,
            spread=joined(call, [one.spread for one in found]),
            terms=terms,
        ),
        Exact(top, torch.float32, spread=torch.full_like(top, 1 + steep), terms=terms, free=nothing),
        Exact(total, torch.float32, spread=total * (1 + steep), terms=terms, free=nothing),
    )


def training_reference(arguments: Arguments, order: Order) -> tuple[Tensor, ...]:
    """Return output, maxima and sums of plain torch."""
    dtype = arguments["query"].dtype
    call, found = training_answers(arguments, torch.float32, rounded=dtype, order=order)
    return joined(call, [one.out for one in found]).to(dtype), *statistics(call, found)


def operations(arguments: Arguments) -> int:
    """Return operations of scores and weighted sum, by the sizes of query and keys as given."""
    call = as_v1(arguments)
    query, key = call["query"], call["key"]
    if call.get("block_table") is not None:
        keys = max(call["actual_seq_lengths_kv"])
    else:
        axis = call["input_layout"].replace("T", "S").index("S")
        keys = key.shape[axis]
    return 4 * int(query.numel()) * int(keys)


_attend = partial(of_border, level=3, rule="default", operations=operations)
fused_inference = _attend(
    FIA,
    about="attention of a tree or of decoding rows over a contiguous, paged or packed cache",
    truth=inference_truth,
    reference=inference_reference,
    heavy=partial(tree, nodes=32, keys=1024, dtype=torch.bfloat16),
    cases=inference_cases(),
)
fused_inference_v2 = _attend(
    FIA_V2,
    about="the same with a learnable sink, under other names",
    truth=inference_truth,
    reference=inference_reference,
    cases=sink_cases(),
)
fusion_attention = _attend(
    FUSION,
    about="attention of the training operator, with maximum and sum of each row",
    truth=training_truth,
    reference=training_reference,
    also_returns=4,
    heavy=partial(training, nodes=32, keys=1024, dtype=torch.bfloat16),
    cases=fusion_cases(),
)
