"""The arithmetic of the fused attention kernels on Atlas A2 and A3.

QK^T, scale and softmax in float32; a blocked score is *replaced* by -1e12 (not added, not -inf); the
exponentials are rounded to the dtype of the values before they meet V; the sum that normalises them is not;
the result is rounded once. The kernel's KV tiles (512 to 8192 wide) and the fp16 high-performance variant of
`inner_precise` are not modelled: both change the last bits only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

BLOCKED_SCORE: Final = -1e12
"""What the kernels write over a blocked score."""
COMPRESSED: Final = 2048
"""Side of the causal mask that the causal sparse modes take, whatever the lengths."""
TILE_SCORES: Final = 1 << 25
"""Most scores (float32) held at once; longer queries are computed in slices of rows."""


@dataclass(frozen=True, slots=True)
class AttentionInputs:
    """One padded attention problem.

    Attributes:
        query: [B, N, S, D].
        key: [B, KVN, S_kv, D].
        value: [B, KVN, S_kv, D_v].
        scale: Factor on QK^T.
        seen: Bool [B or 1, 1 or N, 1 or S, S_kv], the columns that the kernel processes; None is all of them.
        blocked: Bool [B or 1, 1 or N, S, S_kv], columns whose score is replaced; None is none.
        bias: [B or 1, N, >= S, >= S_kv], added to the scaled scores.
        sink: [N], one more logit per head that takes weight and gives no value.
        repair_rows: Whether rows with every seen column blocked become zero.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    scale: float
    seen: Tensor | None = None
    blocked: Tensor | None = None
    bias: Tensor | None = None
    sink: Tensor | None = None
    repair_rows: bool = False


@dataclass(frozen=True, slots=True)
class AttentionOutputs:
    """What the kernels can return.

    Attributes:
        out: [B, N, S, D_v] in the query's dtype; zero where a row is gone.
        top: float32 [B, N, S], the largest score.
        total: float32 [B, N, S], the sum of exp(score - top).
        gone: Bool [B, N, S]: the row sees no column, or was repaired.
    """

    out: Tensor
    top: Tensor
    total: Tensor
    gone: Tensor

    @property
    def lse(self) -> Tensor:
        """Log-sum-exp float32 [B, N, S], +inf where a row is gone."""
        return (self.top + self.total.log()).masked_fill(self.gone, math.inf)


def attend(inputs: AttentionInputs) -> AttentionOutputs:
    """Attend, in slices of query rows where the scores would not fit."""
    batch, heads, rows, _ = inputs.query.shape
    step = max(1, TILE_SCORES // max(1, batch * heads * inputs.key.shape[2]))
    if rows <= step:
        return attend_rows(inputs, 0, rows)
    tiles = [attend_rows(inputs, start, min(start + step, rows)) for start in range(0, rows, step)]
    return AttentionOutputs(
        *(
            torch.cat([getattr(tile, name) for tile in tiles], dim=2)
            for name in ("out", "top", "total", "gone")
        )
    )


def attend_rows(inputs: AttentionInputs, start: int, stop: int) -> AttentionOutputs:
    """Attend for the query rows [start, stop); see `attend`."""
    scores = scaled_scores(inputs, start, stop)
    seen = rows_of(inputs.seen, start, stop)
    blocked = rows_of(inputs.blocked, start, stop)
    if blocked is not None:
        scores = scores.masked_fill(blocked, BLOCKED_SCORE)
    if seen is not None:
        scores = scores.masked_fill(~seen, -math.inf)
    weights, total, top = exponentials(scores, inputs.sink)
    gone = total == 0
    if inputs.repair_rows and blocked is not None:
        open_columns = ~blocked if seen is None else seen & ~blocked
        gone = gone | ~open_columns.any(-1, keepdim=True)
    out = weighted(weights, inputs.value) / total.masked_fill(gone, 1)
    out = cast_like_kernel(out.masked_fill(gone, 0), inputs.query.dtype)
    return AttentionOutputs(out, top.squeeze(-1), total.squeeze(-1), gone.squeeze(-1))


def scaled_scores(inputs: AttentionInputs, start: int, stop: int) -> Tensor:
    """Return float32 [B, N, rows, S_kv]: scale * QK^T plus the bias."""
    query = inputs.query[:, :, start:stop].float()
    scores = grouped_matmul(query, inputs.key.float().transpose(-2, -1)) * inputs.scale
    if inputs.bias is not None:
        scores = scores + inputs.bias[..., start:stop, : scores.shape[-1]].float()
    return scores


def exponentials(scores: Tensor, sink: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp(score - row maximum) [B, N, rows, S_kv], its row sum and the row maximum [B, N, rows, 1]."""
    nothing = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    top = scores.amax(-1, keepdim=True) if scores.shape[-1] else nothing
    if sink is not None:
        top = torch.maximum(top, sink.float()[:, None, None])
    finite_top = top.masked_fill(top == -math.inf, 0)
    weights = torch.exp(scores - finite_top)
    total = weights.sum(-1, keepdim=True)
    if sink is not None:
        total = total + torch.exp(sink.float()[:, None, None] - finite_top)
    return weights, total, finite_top


def weighted(weights: Tensor, value: Tensor) -> Tensor:
    """Return float32 [B, N, rows, D_v]: the weights, rounded to the dtype of the values, times the values."""
    rounded = weights if value.dtype is torch.float32 else weights.to(value.dtype).float()
    return grouped_matmul(rounded, value.float())


def grouped_matmul(left: Tensor, right: Tensor) -> Tensor:
    """Multiply [B, N, rows, X] by [B, KVN, X, Y], head h with kv head h // (N / KVN), copying neither."""
    batch, heads, rows, inner = left.shape
    kv_heads = right.shape[1]
    grouped = left.reshape(batch, kv_heads, heads // kv_heads * rows, inner)
    return (grouped @ right).view(batch, heads, rows, right.shape[-1])


def rows_of(columns: Tensor | None, start: int, stop: int) -> Tensor | None:
    """Return the rows [start, stop) of a bool [B, N, S or 1, S_kv]."""
    return columns if columns is None or columns.shape[2] == 1 else columns[:, :, start:stop]


def cast_like_kernel(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast float32 results as the attention kernels store them.

    bf16 rounds to nearest even; fp16 rounds halfway cases away from zero; float32 stays.

    Args:
        exact: float32 values.
        dtype: float32, float16 or bfloat16.
    """
    return half_away(exact) if dtype is torch.float16 else exact.to(dtype)


def half_away(exact: Tensor) -> Tensor:
    """Round float32 to float16, halfway cases away from zero.

    torch rounds halfway cases to even, so only values exactly between a kept half and the next one of larger
    magnitude differ; the bit pattern of that one is the kept one plus 1.
    """
    kept = exact.half()
    further = (kept.view(torch.int16) + 1).view(torch.float16)
    middle = (kept.float() + further.float()) / 2  # exact: both have 11 bits
    return torch.where(exact == middle, further, kept)


@lru_cache(maxsize=4)
def compressed_causal(device: torch.device) -> Tensor:
    """Return the compressed causal mask, bool [2048, 2048], True strictly above the diagonal."""
    return torch.ones(COMPRESSED, COMPRESSED, dtype=torch.bool, device=device).triu(1)
