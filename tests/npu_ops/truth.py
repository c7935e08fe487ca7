"""Attention as its formula says, in float64, one request at a time; shares nothing with the emulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

UNIT = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11, torch.float32: 2.0**-24}
"""Largest relative error of one rounding (half a unit in the last place) per dtype."""


@dataclass(frozen=True)
class Truth:
    """Result of one request.

    Attributes:
        out: float64 [S, N, D_v].
        lse: float64 [S, N].
        size: float64 [S, N, D_v], the same average taken over |V|: what relative errors of weights scale.
    """

    out: Tensor
    lse: Tensor
    size: Tensor


def attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float, visible: Tensor | None = None
) -> Truth:
    """Attend in float64.

    Args:
        query: [S, N, D].
        key: [S_kv, KVN, D].
        value: [S_kv, KVN, D_v].
        scale: Factor on the scores.
        visible: Bool [S, S_kv], True attends; every row sees something.
    """
    group = query.shape[1] // key.shape[1]
    keys = key.double().repeat_interleave(group, dim=1)
    values = value.double().repeat_interleave(group, dim=1)
    scores = torch.einsum("snd,tnd->nst", query.double(), keys) * scale
    if visible is not None:
        scores[:, ~visible] = -torch.inf
    weights = torch.softmax(scores, -1)
    return Truth(
        torch.einsum("nst,tnd->snd", weights, values),
        torch.logsumexp(scores, -1).T,
        torch.einsum("nst,tnd->snd", weights, values.abs()),
    )


def bottom_right(rows: int, columns: int) -> Tensor:
    """Causal, bool [rows, columns], True attends."""
    return torch.ones(rows, columns, dtype=torch.bool).tril(columns - rows)


def tree(rows: int, columns: int, seed: int = 0) -> Tensor:
    """A random tree over the last `rows` columns: the prefix, the ancestors and the node itself attend."""
    generator = torch.Generator().manual_seed(seed)
    visible = torch.zeros(rows, columns, dtype=torch.bool)
    visible[:, : columns - rows] = True
    for node in range(rows):
        if node:
            parent = int(torch.randint(node, (), generator=generator))
            visible[node, columns - rows :] = visible[parent, columns - rows :]
        visible[node, columns - rows + node] = True
    return visible


def assert_near(out: Tensor, lse: Tensor | None, truth: Truth, note: Any = "") -> None:
    """Assert that out [S, N, D_v] and lse [S, N] are within what the stated roundings allow.

    The weights are rounded once to the dtype of V: at most UNIT of the average of |V|. The sum over them is
    not, and the result is rounded once: at most UNIT of itself. Sums over a few hundred terms in float32 add
    less than 2^-17 of the average of |V| (scores of up to about 30 carry 2^-19 each into the exponent).
    Weights below the smallest normal fp16 are off by up to 2^-25 each, of at most 2^11 keys.
    """
    unit = UNIT[out.dtype]
    allowed = (
        unit * (truth.size + truth.out.abs())
        + 2.0**-17 * truth.size
        + 2.0**-14 * (out.dtype is torch.float16)
    )
    error = (out.double() - truth.out).abs()
    assert bool((error <= allowed).all()), f"{note}: {float((error / allowed).max()):.2f} of the allowance"
    if lse is not None:
        torch.testing.assert_close(lse.double(), truth.lse, rtol=2.0**-19, atol=2.0**-17)
