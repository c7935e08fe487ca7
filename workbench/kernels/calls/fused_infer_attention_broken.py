"""For every rule of fused attention one legal call, changed in exactly what the rule is about."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, calls_of, causal, half, ints, kv, one_hot_hidden, qkv
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


BROKEN: dict[str, Call] = calls_of(
    FIA,
    {
        "NPU-FIA-DTYPE": lambda: {
            k: v.double() if k in {"query", "key", "value"} else v for k, v in dense().items()
        },
        "NPU-FIA-DTYPE-EQUAL": lambda: dense(key=half(2, 8, 2, 64).half()),
        "NPU-FIA-DEVICE": lambda: dense(value=half(2, 8, 2, 64).to("meta")),
        "NPU-FIA-CONTIGUOUS": wide_key,
        "NPU-FIA-LAYOUT": lambda: dense(input_layout="SH"),
        "NPU-FIA-HEADS": lambda: dense(num_heads=0),
        "NPU-FIA-KV-HEADS": lambda: dense(num_key_value_heads=3),
        "NPU-FIA-GQA-RATIO": lambda: dense(
            **qkv((1, 2, 65, 16), (1, 4, 1, 16)), num_heads=65, num_key_value_heads=1
        ),
        "NPU-FIA-RANK": lambda: dense(query=half(2, 4, 256)),
        "NPU-FIA-HEAD-AXIS": lambda: dense(num_heads=8),
        "NPU-FIA-KEY-SHAPE": lambda: dense(key=half(3, 8, 2, 64)),
        "NPU-FIA-VALUE-SHAPE": lambda: dense(value=half(2, 9, 2, 64)),
        "NPU-FIA-VALUE-DIM": lambda: dense(value=half(2, 8, 2, 32)),
        "NPU-FIA-LIMIT-HEADS": lambda: dense(
            **qkv((1, 2, 260, 16), (1, 4, 130, 16)), num_heads=260, num_key_value_heads=130
        ),
        "NPU-FIA-LIMIT-DIM": lambda: dense(**qkv((2, 4, 4, 528), (2, 8, 2, 528))),
        "NPU-FIA-LIMIT-BATCH": lambda: dense(
            **qkv((65537, 1, 1, 1), (65537, 1, 1, 1)), num_heads=1, num_key_value_heads=1
        ),
        "NPU-FIA-LIMIT-KEYS": lambda: dense(
            **qkv((1, 1, 1, 1), (1, 262145, 1, 1)), num_heads=1, num_key_value_heads=1
        ),
        "NPU-FIA-LIMIT-WIDTH": lambda: dense(
            **qkv((1, 2, 128, 512), (1, 2, 64, 512)), num_heads=128, num_key_value_heads=64
        ),
        "NPU-FIA-DIM-16": lambda: dense(**qkv((2, 4, 4, 40), (2, 8, 2, 40))),
        "NPU-FIA-DIM-TND": lambda: packed(**qkv((6, 4, 32), (10, 2, 32))),
        "NPU-FIA-DIM-CROSSED": lambda: dense(**qkv((2, 4, 4, 32), (2, 8, 2, 32)), input_layout="BSND_BNSD"),
        "NPU-FIA-DECODE-LAYOUT": lambda: dense(**qkv((2, 4, 1, 64), (2, 2, 8, 64)), input_layout="BNSD_BSND"),
        "NPU-FIA-LENGTHS-COUNT": lambda: dense(
            **qkv((3, 4, 4, 64), (3, 8, 2, 64)), actual_seq_lengths_kv=[8, 8]
        ),
        "NPU-FIA-LENGTHS-RANGE": lambda: dense(actual_seq_lengths_kv=[8, 9]),
        "NPU-FIA-PAGED-LENGTHS": lambda: paged(actual_seq_lengths_kv=None),
        "NPU-FIA-TND-LENGTHS": lambda: packed(actual_seq_lengths_kv=None),
        "NPU-FIA-TND-CUMULATIVE": lambda: packed(actual_seq_lengths_kv=[10, 4]),
        "NPU-FIA-TND-TOTAL": lambda: packed(actual_seq_lengths=[2, 4]),
        "NPU-FIA-TND-COUNT": lambda: packed(actual_seq_lengths_kv=[10]),
        "NPU-FIA-TABLE-DTYPE": lambda: paged(block_table=torch.tensor([[2, -1], [0, 3]])),
        "NPU-FIA-TABLE-SHAPE": lambda: paged(block_table=ints(2, 0).view(1, 2)),
        "NPU-FIA-TABLE-WIDTH": lambda: packed_paged(
            block_table=ints(2, 0).view(2, 1), actual_seq_lengths_kv=[8, 17]
        ),
        "NPU-FIA-BLOCK-ID": lambda: paged(block_table=torch.tensor([[2, -1], [0, 4]], dtype=torch.int32)),
        "NPU-FIA-BLOCK-COUNT": lambda: paged(**kv(2, 16, 128), block_table=ints(1, 9, 0, 1).view(2, 2)),
        "NPU-FIA-CACHE-RANK": lambda: paged(**kv(64, 128)),
        "NPU-FIA-CACHE-SHAPE": lambda: paged(**kv(4, 16, 2, 64)),
        "NPU-FIA-CACHE-EQUAL": lambda: paged(value=half(5, 16, 128)),
        "NPU-FIA-CACHE-WIDTH": lambda: dense(
            query=half(1, 2, 128, 512).transpose(1, 2).contiguous(),
            **kv(1, 128, 65536),
            num_heads=128,
            num_key_value_heads=128,
            input_layout="BNSD",
            block_table=ints(0).view(1, 1),
            actual_seq_lengths_kv=[4],
            block_size=128,
        ),
        "NPU-FIA-CACHE-ELEMENTS": lambda: meta_paged(2**20),
        "NPU-FIA-CACHE-NZ-DIM": lambda: paged(**qkv((2, 4, 4, 32), (4, 2, 2, 128, 16)), block_size=128),
        "NPU-FIA-BLOCK-SIZE": lambda: paged(block_size=0),
        "NPU-FIA-BLOCK-MULTIPLE": lambda: paged(**kv(4, 24, 128), block_size=24),
        "NPU-FIA-BLOCK-MAX": lambda: paged(**kv(4, 1040, 128), block_size=1040),
        "NPU-FIA-SCALE": lambda: {k: v for k, v in dense().items() if k != "scale"},
        "NPU-FIA-SPARSE-MODE": lambda: masked(sparse_mode=5),
        "NPU-FIA-SPARSE-MASK": lambda: dense(sparse_mode=3),
        "NPU-FIA-TND-SPARSE": lambda: packed(atten_mask=compressed()["atten_mask"], sparse_mode=2),
        "NPU-FIA-TREE-MODE": lambda: dense(
            atten_mask=causal(4, 4).expand(2, 4, 4).contiguous(), sparse_mode=9
        ),
        "NPU-FIA-BAND": lambda: compressed(sparse_mode=4, pre_tokens=2, next_tokens=-3),
        "NPU-FIA-INNER-PRECISE": lambda: dense(inner_precise=4),
        "NPU-FIA-INNER-DECODE": lambda: decode(**qkv((2, 1, 4, 80), (2, 8, 2, 80)), inner_precise=2),
        "NPU-FIA-TND-INNER": lambda: packed(inner_precise=2),
        "NPU-FIA-PSE-DTYPE": lambda: dense(pse_shift=half(1, 4, 4, 8).float()),
        "NPU-FIA-PSE-LAYOUT": lambda: packed(pse_shift=half(1, 4, 6, 10)),
        "NPU-FIA-PSE-SHAPE": lambda: dense(pse_shift=half(1, 1, 4, 8)),
        "NPU-FIA-MASK-DTYPE": lambda: masked(atten_mask=torch.zeros(4, 8).masked_fill(causal(), -1e4)),
        "NPU-FIA-MASK-VALUES": lambda: masked(atten_mask=causal().to(torch.uint8) * 255),
        "NPU-FIA-MASK-CONTIGUOUS": lambda: masked(atten_mask=causal().expand(2, 4, 8)),
        "NPU-FIA-TND-MASK": lambda: packed(atten_mask=causal(6, 10)[None]),
        "NPU-FIA-MASK-SHAPE": lambda: masked(atten_mask=causal()[None, None].repeat(1, 4, 1, 1)),
        "NPU-FIA-MASK-PAGED-WIDTH": lambda: paged(atten_mask=causal(4, 20)[None]),
        "NPU-FIA-MASK-COMPRESSED": lambda: compressed(atten_mask=causal()),
        "NPU-FIA-MASK-TRIU": lambda: compressed(atten_mask=torch.ones(2048, 2048, dtype=torch.bool).tril()),
        "NPU-FIA-MASK-DECODE": lambda: decode(atten_mask=torch.zeros(2, 8, dtype=torch.bool)),
        "NPU-FIA-MASK-POLARITY": lambda: masked(atten_mask=~causal()),
        "NPU-FIA-MASK-ROW": lambda: masked(atten_mask=one_hot_hidden()),
    },
) | calls_of(
    FIA_V2,
    {
        "NPU-FIA-SINK": lambda: packed_v2(learnable_sink=half(4).half()),
        "NPU-FIA-SINK-LAYOUT": lambda: packed_v2(
            **qkv((1, 6, 4, 64), (1, 10, 2, 64)),
            input_layout="BSND",
            actual_seq_qlen=None,
            actual_seq_kvlen=None,
        ),
    },
)

TREE_BROKEN: dict[str, Call] = calls_of(
    FIA,
    {
        "NPU-FIA-TREE-BIAS": lambda: dense(
            atten_mask=causal(4, 4).repeat(2, 1, 1), sparse_mode=9, pse_shift=half(1, 4, 4, 8)
        ),
        "NPU-FIA-TREE-SHAPE": lambda: dense(atten_mask=causal(4, 8)[None].repeat(2, 1, 1), sparse_mode=9),
        "NPU-FIA-TREE-LENGTHS": lambda: dense(
            atten_mask=causal(4, 4)[None].repeat(2, 1, 1), sparse_mode=9, actual_seq_lengths_kv=[8, 3]
        ),
        "NPU-FIA-TREE-ROWS": lambda: dense(
            **qkv((2, 17, 4, 64), (2, 20, 2, 64)),
            atten_mask=causal(17, 17)[None].repeat(2, 1, 1),
            sparse_mode=9,
        ),
    },
)
"""Rules of sparse mode 9, reachable with the capability `tree_mask_gqa` only."""

BROKEN |= TREE_BROKEN
