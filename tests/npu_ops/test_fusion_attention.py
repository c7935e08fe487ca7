"""The training attention emulation against the formula in float64, over layouts, masks and packed requests.

Which bugs these catch: a transposed axis, a mask on the wrong head, a causal corner on the wrong side.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.npu_ops.numbers import DTYPES, numbers
from tests.npu_ops.truth import UNIT
from workbench.npu.operators.fusion_attention import npu_fusion_attention


@pytest.mark.parametrize("layout", ["BSH", "SBH", "BSND", "BNSD"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["none", "full", "per_head", 2, 3])
def test_fusion_attention_dense(layout: str, dtype: torch.dtype, mode: str | int) -> None:
    rows, columns, heads, kv_heads, dim = 5, 8, 4, 2, 16
    tensors = [
        numbers(2, size, count, dim, seed=size + count, dtype=dtype)
        for size, count in ((rows, heads), (columns, kv_heads), (columns, kv_heads))
    ]
    tensors[2] = tensors[2] * 2
    hidden = torch.zeros(2, heads, rows, columns, dtype=torch.bool)
    extra: dict[str, Any] = {}
    if mode in {"full", "per_head"}:
        hidden = torch.rand(hidden.shape, generator=torch.Generator().manual_seed(3)) < 0.4
        hidden[..., 0] = False
        hidden = hidden if mode == "per_head" else hidden[:1, :1].repeat(2, heads, 1, 1)
        extra = {"atten_mask": hidden if mode == "per_head" else hidden[0, 0], "sparse_mode": 0}
    elif isinstance(mode, int):
        hidden = hidden | torch.ones(rows, columns, dtype=torch.bool).triu(
            1 if mode == 2 else columns - rows + 1
        )
        extra = {"atten_mask": torch.ones(2048, 2048, dtype=torch.bool).triu(1), "sparse_mode": mode}
    out, top, total, reserved, *dropout = npu_fusion_attention(
        *(fusion_layout(tensor, layout) for tensor in tensors), heads, layout, scale=0.25, **extra
    )
    query, key, value = (tensor.double().transpose(1, 2) for tensor in tensors)
    key, value = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    scores = (query @ key.transpose(-1, -2) * 0.25).masked_fill(hidden, -torch.inf)
    exact, size = scores.softmax(-1) @ value, scores.softmax(-1) @ value.abs()
    shaped = fusion_layout(out, layout, back=heads).transpose(1, 2)
    # weights rounded once, the result once, float32 in between
    allowed = (
        UNIT[dtype] * 1.01 * (size + exact.abs()) + 2.0**-18 * size + 2.0**-16 * (dtype is torch.float16)
    )
    assert bool(((shaped.double() - exact).abs() <= allowed).all())
    assert top.shape == total.shape == (2, heads, rows, 8)
    torch.testing.assert_close(
        (top + total.log())[..., 0].double(), scores.logsumexp(-1), rtol=1e-6, atol=1e-6
    )
    assert reserved.shape == (0,)
    assert dropout == [0, 0, 0]


def fusion_layout(tensor: Tensor, layout: str, back: int = 0) -> Tensor:
    """Turn [B, S, N, D] into a layout, or with `back` heads the other way round."""
    if back:
        tensor = tensor.transpose(0, 1) if layout == "SBH" else tensor
        tensor = tensor.unflatten(-1, (back, -1)) if "H" in layout else tensor
        return tensor.transpose(1, 2) if layout == "BNSD" else tensor
    tensor = tensor.flatten(2) if "H" in layout else tensor
    tensor = tensor.transpose(0, 1) if layout == "SBH" else tensor
    return (tensor.transpose(1, 2) if layout == "BNSD" else tensor).contiguous()


def test_fusion_attention_packed_equals_each_request_alone() -> None:
    query, key, value = numbers(6, 4, 16), numbers(10, 2, 16, seed=1), numbers(10, 2, 16, seed=2)
    out, top, total, *_ = npu_fusion_attention(
        query, key, value, 4, "TND", scale=0.25, actual_seq_qlen=[2, 6, 0], actual_seq_kvlen=[4, 10, 0]
    )
    for rows, columns in ((slice(0, 2), slice(0, 4)), (slice(2, 6), slice(4, 10))):
        alone = npu_fusion_attention(
            query[None, rows], key[None, columns], value[None, columns], 4, "BSND", scale=0.25
        )
        # float32, the same numbers in another matmul shape
        torch.testing.assert_close(out[rows], alone[0][0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(top[rows], alone[1][0].transpose(0, 1), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(total[rows], alone[2][0].transpose(0, 1), rtol=1e-5, atol=1e-6)
