"""Legal calls of `npu_fused_infer_attention_score`, small, one for each form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from workbench.kernels.calls.common import Call, causal, half, kv, qkv

FIA = "npu::npu_fused_infer_attention_score"
FIA_V2 = f"{FIA}_v2"


def dense(**changes: Any) -> dict[str, Any]:
    """BSND, B = 2, Q_S = 4, 8 keys, 4 heads over 2, D = 64."""
    return {
        **qkv((2, 4, 4, 64), (2, 8, 2, 64)),
        "num_heads": 4,
        "num_key_value_heads": 2,
        "scale": 0.125,
        "input_layout": "BSND",
    } | changes


def decode(**changes: Any) -> dict[str, Any]:
    """BSND with one query row."""
    return dense(query=half(2, 1, 4, 64)) | changes


def masked(**changes: Any) -> dict[str, Any]:
    """`dense` with a full causal mask."""
    return dense(atten_mask=causal()) | changes


def compressed(**changes: Any) -> dict[str, Any]:
    """`dense` with the 2048 mask of sparse mode 3."""
    return dense(atten_mask=torch.ones(2048, 2048, dtype=torch.bool).triu(1), sparse_mode=3) | changes


def paged(**changes: Any) -> dict[str, Any]:
    """`dense` queries over a cache of 4 blocks of 16 in the 3-axis form; 8 and 20 keys."""
    return (
        dense(
            **kv(4, 16, 128),
            block_table=torch.tensor([[2, -1], [0, 3]], dtype=torch.int32),
            actual_seq_lengths_kv=[8, 20],
            block_size=16,
        )
        | changes
    )


def packed(**changes: Any) -> dict[str, Any]:
    """TND, requests of 2 and 4 queries over 4 and 6 keys."""
    return {
        **qkv((6, 4, 64), (10, 2, 64)),
        "num_heads": 4,
        "num_key_value_heads": 2,
        "scale": 0.125,
        "input_layout": "TND",
        "actual_seq_lengths": [2, 6],
        "actual_seq_lengths_kv": [4, 10],
    } | changes


V2_FROM_V1 = {
    "actual_seq_lengths": "actual_seq_qlen",
    "actual_seq_lengths_kv": "actual_seq_kvlen",
    "num_heads": "num_query_heads",
    "scale": "softmax_scale",
    "softmax_lse_flag": "return_softmax_lse",
}
"""Names of the same arguments in v2."""


def as_v2(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call under the names of v2."""
    return {V2_FROM_V1.get(name, name): value for name, value in call.items()}


def packed_v2(**changes: Any) -> dict[str, Any]:
    """`packed` under the names of v2, with a sink."""
    return as_v2(packed()) | {"learnable_sink": half(4)} | changes


def packed_paged(**changes: Any) -> dict[str, Any]:
    """`packed` queries over the cache of `paged`."""
    names = ("key", "value", "block_table", "block_size", "actual_seq_lengths_kv")
    return packed() | {name: paged()[name] for name in names} | changes


LEGAL: dict[str, Call] = {
    "dense": (FIA, dense),
    "decode": (FIA, decode),
    "masked": (FIA, masked),
    "compressed": (FIA, compressed),
    "paged": (FIA, paged),
    "packed": (FIA, packed),
    "packed_v2": (FIA_V2, packed_v2),
}
