"""For every rule of fused attention one legal call, changed in exactly what the rule is about."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, causal, half, ints, one_hot_hidden
from workbench.kernels.calls.fused_infer_attention import (
    FIA,
    FIA_V2,
    compressed,
    decode,
    dense,
    masked,
    packed,
    packed_paged,
    packed_v2,
    paged,
)


def meta_paged(blocks: int) -> dict[str, Any]:
    """A decode call over a cache too large to allocate, on the meta device: shapes only."""
    cache = torch.empty(blocks, 16, 128, dtype=torch.bfloat16, device="meta")
    small = {"query": half(2, 1, 4, 64).to("meta"), "block_table": paged()["block_table"].to("meta")}
    return paged(key=cache, value=cache, **small)


def wide_key() -> dict[str, Any]:
    """`dense` with a key whose heads do not lie behind each other."""
    return dense(
        key=half(2, 8, 4, 64).float()[:, :, ::2].bfloat16().transpose(1, 2).contiguous().transpose(1, 2)
    )


BROKEN: dict[str, Call] = {
    "NPU-FIA-DTYPE": (
        FIA,
        lambda: {k: v.double() if k in {"query", "key", "value"} else v for k, v in dense().items()},
    ),
    "NPU-FIA-DTYPE-EQUAL": (FIA, lambda: dense(key=half(2, 8, 2, 64).half())),
    "NPU-FIA-DEVICE": (FIA, lambda: dense(value=half(2, 8, 2, 64).to("meta"))),
    "NPU-FIA-CONTIGUOUS": (FIA, wide_key),
    "NPU-FIA-LAYOUT": (FIA, lambda: dense(input_layout="SH")),
    "NPU-FIA-HEADS": (FIA, lambda: dense(num_heads=0)),
    "NPU-FIA-KV-HEADS": (FIA, lambda: dense(num_key_value_heads=3)),
    "NPU-FIA-GQA-RATIO": (
        FIA,
        lambda: dense(
            query=half(1, 2, 65, 16),
            key=half(1, 4, 1, 16),
            value=half(1, 4, 1, 16),
            num_heads=65,
            num_key_value_heads=1,
        ),
    ),
    "NPU-FIA-RANK": (FIA, lambda: dense(query=half(2, 4, 256))),
    "NPU-FIA-HEAD-AXIS": (FIA, lambda: dense(num_heads=8)),
    "NPU-FIA-KEY-SHAPE": (FIA, lambda: dense(key=half(3, 8, 2, 64))),
    "NPU-FIA-VALUE-SHAPE": (FIA, lambda: dense(value=half(2, 9, 2, 64))),
    "NPU-FIA-VALUE-DIM": (FIA, lambda: dense(value=half(2, 8, 2, 32))),
    "NPU-FIA-LIMIT-HEADS": (
        FIA,
        lambda: dense(
            query=half(1, 2, 260, 16),
            key=half(1, 4, 130, 16),
            value=half(1, 4, 130, 16),
            num_heads=260,
            num_key_value_heads=130,
        ),
    ),
    "NPU-FIA-LIMIT-DIM": (
        FIA,
        lambda: dense(query=half(2, 4, 4, 528), key=half(2, 8, 2, 528), value=half(2, 8, 2, 528)),
    ),
    "NPU-FIA-LIMIT-BATCH": (
        FIA,
        lambda: dense(
            query=half(65537, 1, 1, 1),
            key=half(65537, 1, 1, 1),
            value=half(65537, 1, 1, 1),
            num_heads=1,
            num_key_value_heads=1,
        ),
    ),
    "NPU-FIA-LIMIT-KEYS": (
        FIA,
        lambda: dense(
            query=half(1, 1, 1, 1),
            key=half(1, 262145, 1, 1),
            value=half(1, 262145, 1, 1),
            num_heads=1,
            num_key_value_heads=1,
        ),
    ),
    "NPU-FIA-LIMIT-WIDTH": (
        FIA,
        lambda: dense(
            query=half(1, 2, 128, 512),
            key=half(1, 2, 64, 512),
            value=half(1, 2, 64, 512),
            num_heads=128,
            num_key_value_heads=64,
        ),
    ),
    "NPU-FIA-DIM-16": (
        FIA,
        lambda: dense(query=half(2, 4, 4, 40), key=half(2, 8, 2, 40), value=half(2, 8, 2, 40)),
    ),
    "NPU-FIA-DIM-TND": (
        FIA,
        lambda: packed(query=half(6, 4, 32), key=half(10, 2, 32), value=half(10, 2, 32)),
    ),
    "NPU-FIA-DIM-CROSSED": (
        FIA,
        lambda: dense(
            query=half(2, 4, 4, 32), key=half(2, 8, 2, 32), value=half(2, 8, 2, 32), input_layout="BSND_BNSD"
        ),
    ),
    "NPU-FIA-DECODE-LAYOUT": (
        FIA,
        lambda: dense(
            query=half(2, 4, 1, 64), key=half(2, 2, 8, 64), value=half(2, 2, 8, 64), input_layout="BNSD_BSND"
        ),
    ),
    "NPU-FIA-LENGTHS-COUNT": (
        FIA,
        lambda: dense(
            query=half(3, 4, 4, 64),
            key=half(3, 8, 2, 64),
            value=half(3, 8, 2, 64),
            actual_seq_lengths_kv=[8, 8],
        ),
    ),
    "NPU-FIA-LENGTHS-RANGE": (FIA, lambda: dense(actual_seq_lengths_kv=[8, 9])),
    "NPU-FIA-PAGED-LENGTHS": (FIA, lambda: paged(actual_seq_lengths_kv=None)),
    "NPU-FIA-TND-LENGTHS": (FIA, lambda: packed(actual_seq_lengths_kv=None)),
    "NPU-FIA-TND-CUMULATIVE": (FIA, lambda: packed(actual_seq_lengths_kv=[10, 4])),
    "NPU-FIA-TND-TOTAL": (FIA, lambda: packed(actual_seq_lengths=[2, 4])),
    "NPU-FIA-TND-COUNT": (FIA, lambda: packed(actual_seq_lengths_kv=[10])),
    "NPU-FIA-TABLE-DTYPE": (FIA, lambda: paged(block_table=torch.tensor([[2, -1], [0, 3]]))),
    "NPU-FIA-TABLE-SHAPE": (FIA, lambda: paged(block_table=ints(2, 0).view(1, 2))),
    "NPU-FIA-TABLE-WIDTH": (
        FIA,
        lambda: packed_paged(block_table=ints(2, 0).view(2, 1), actual_seq_lengths_kv=[8, 17]),
    ),
    "NPU-FIA-BLOCK-ID": (FIA, lambda: paged(block_table=torch.tensor([[2, -1], [0, 4]], dtype=torch.int32))),
    "NPU-FIA-BLOCK-COUNT": (
        FIA,
        lambda: paged(key=half(2, 16, 128), value=half(2, 16, 128), block_table=ints(1, 9, 0, 1).view(2, 2)),
    ),
    "NPU-FIA-CACHE-RANK": (FIA, lambda: paged(key=half(64, 128), value=half(64, 128))),
    "NPU-FIA-CACHE-SHAPE": (FIA, lambda: paged(key=half(4, 16, 2, 64), value=half(4, 16, 2, 64))),
    "NPU-FIA-CACHE-EQUAL": (FIA, lambda: paged(value=half(5, 16, 128))),
    "NPU-FIA-CACHE-WIDTH": (
        FIA,
        lambda: dense(
            query=half(1, 2, 128, 512).transpose(1, 2).contiguous(),
            key=half(1, 128, 65536),
            value=half(1, 128, 65536),
            num_heads=128,
            num_key_value_heads=128,
            input_layout="BNSD",
            block_table=ints(0).view(1, 1),
            actual_seq_lengths_kv=[4],
            block_size=128,
        ),
    ),
    "NPU-FIA-CACHE-ELEMENTS": (FIA, lambda: meta_paged(2**20)),
    "NPU-FIA-CACHE-NZ-DIM": (
        FIA,
        lambda: paged(
            query=half(2, 4, 4, 32), key=half(4, 2, 2, 128, 16), value=half(4, 2, 2, 128, 16), block_size=128
        ),
    ),
    "NPU-FIA-BLOCK-SIZE": (FIA, lambda: paged(block_size=0)),
    "NPU-FIA-BLOCK-MULTIPLE": (
        FIA,
        lambda: paged(key=half(4, 24, 128), value=half(4, 24, 128), block_size=24),
    ),
    "NPU-FIA-BLOCK-MAX": (
        FIA,
        lambda: paged(key=half(4, 1040, 128), value=half(4, 1040, 128), block_size=1040),
    ),
    "NPU-FIA-SCALE": (FIA, lambda: {k: v for k, v in dense().items() if k != "scale"}),
    "NPU-FIA-SPARSE-MODE": (FIA, lambda: masked(sparse_mode=5)),
    "NPU-FIA-SPARSE-MASK": (FIA, lambda: dense(sparse_mode=3)),
    "NPU-FIA-TND-SPARSE": (FIA, lambda: packed(atten_mask=compressed()["atten_mask"], sparse_mode=2)),
    "NPU-FIA-TREE-MODE": (
        FIA,
        lambda: dense(atten_mask=causal(4, 4).expand(2, 4, 4).contiguous(), sparse_mode=9),
    ),
    "NPU-FIA-BAND": (FIA, lambda: compressed(sparse_mode=4, pre_tokens=2, next_tokens=-3)),
    "NPU-FIA-INNER-PRECISE": (FIA, lambda: dense(inner_precise=4)),
    "NPU-FIA-INNER-DECODE": (
        FIA,
        lambda: decode(
            query=half(2, 1, 4, 80), key=half(2, 8, 2, 80), value=half(2, 8, 2, 80), inner_precise=2
        ),
    ),
    "NPU-FIA-TND-INNER": (FIA, lambda: packed(inner_precise=2)),
    "NPU-FIA-PSE-DTYPE": (FIA, lambda: dense(pse_shift=half(1, 4, 4, 8).float())),
    "NPU-FIA-PSE-LAYOUT": (FIA, lambda: packed(pse_shift=half(1, 4, 6, 10))),
    "NPU-FIA-PSE-SHAPE": (FIA, lambda: dense(pse_shift=half(1, 1, 4, 8))),
    "NPU-FIA-SINK": (FIA_V2, lambda: packed_v2(learnable_sink=half(4).half())),
    "NPU-FIA-SINK-LAYOUT": (
        FIA_V2,
        lambda: packed_v2(
            query=half(1, 6, 4, 64),
            key=half(1, 10, 2, 64),
            value=half(1, 10, 2, 64),
            input_layout="BSND",
            actual_seq_qlen=None,
            actual_seq_kvlen=None,
        ),
    ),
    "NPU-FIA-MASK-DTYPE": (FIA, lambda: masked(atten_mask=torch.zeros(4, 8).masked_fill(causal(), -1e4))),
    "NPU-FIA-MASK-VALUES": (FIA, lambda: masked(atten_mask=causal().to(torch.uint8) * 255)),
    "NPU-FIA-MASK-CONTIGUOUS": (FIA, lambda: masked(atten_mask=causal().expand(2, 4, 8))),
    "NPU-FIA-TND-MASK": (FIA, lambda: packed(atten_mask=causal(6, 10)[None])),
    "NPU-FIA-MASK-SHAPE": (FIA, lambda: masked(atten_mask=causal()[None, None].repeat(1, 4, 1, 1))),
    "NPU-FIA-MASK-PAGED-WIDTH": (FIA, lambda: paged(atten_mask=causal(4, 20)[None])),
    "NPU-FIA-MASK-COMPRESSED": (FIA, lambda: compressed(atten_mask=causal())),
    "NPU-FIA-MASK-TRIU": (
        FIA,
        lambda: compressed(atten_mask=torch.ones(2048, 2048, dtype=torch.bool).tril()),
    ),
    "NPU-FIA-MASK-DECODE": (FIA, lambda: decode(atten_mask=torch.zeros(2, 8, dtype=torch.bool))),
    "NPU-FIA-MASK-POLARITY": (FIA, lambda: masked(atten_mask=~causal())),
    "NPU-FIA-MASK-ROW": (FIA, lambda: masked(atten_mask=one_hot_hidden())),
}

TREE_BROKEN: dict[str, Call] = {
    "NPU-FIA-TREE-BIAS": (
        FIA,
        lambda: dense(atten_mask=causal(4, 4).repeat(2, 1, 1), sparse_mode=9, pse_shift=half(1, 4, 4, 8)),
    ),
    "NPU-FIA-TREE-SHAPE": (FIA, lambda: dense(atten_mask=causal(4, 8)[None].repeat(2, 1, 1), sparse_mode=9)),
    "NPU-FIA-TREE-LENGTHS": (
        FIA,
        lambda: dense(
            atten_mask=causal(4, 4)[None].repeat(2, 1, 1), sparse_mode=9, actual_seq_lengths_kv=[8, 3]
        ),
    ),
    "NPU-FIA-TREE-ROWS": (
        FIA,
        lambda: dense(
            query=half(2, 17, 4, 64),
            key=half(2, 20, 2, 64),
            value=half(2, 20, 2, 64),
            atten_mask=causal(17, 17)[None].repeat(2, 1, 1),
            sparse_mode=9,
        ),
    ),
}
"""Rules of sparse mode 9, reachable with the capability `tree_mask_gqa` only."""

BROKEN |= TREE_BROKEN
