"""`npu_top_k_top_p`."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import FLOATS, ContractRule, in_range, need, refuse, shown
from workbench.npu.definition import operator

_PAGE: Final = "op-plugin page of npu_top_k_top_p"
_rule: Final = partial(ContractRule, operator="npu_top_k_top_p", source=_PAGE)

LOGITS = _rule("NPU-TOPKP-LOGITS", "logits", "(B, V) of float16, bfloat16 or float32")
BOTH = _rule(
    "NPU-TOPKP-BOTH",
    "p",
    "both p and k (the schema's defaults None notwithstanding)",
    source=f"{_PAGE}; the shape function fails without them",
    device="not documented",
)
P_FORM = _rule("NPU-TOPKP-P", "p", "(B,) in the dtype of the logits")
K_FORM = _rule("NPU-TOPKP-K", "k", "(B,) int32")
K_RANGE = _rule("NPU-TOPKP-K-RANGE", "k", "values from 1 to min(1024, V)")


def check(logits: Tensor, p: Tensor | None, k: Tensor | None) -> None:
    """Check one call; p and k are optional in the schema only."""
    need(logits.dim() == 2 and logits.dtype in FLOATS, LOGITS, logits)
    if p is None or k is None:
        refuse(BOTH, None, "p" if p is None else "k")
    rows = (logits.shape[0],)
    need(tuple(p.shape) == rows and p.dtype is logits.dtype, P_FORM, p)
    need(tuple(k.shape) == rows and k.dtype is torch.int32, K_FORM, k)
    need(in_range(k, 1, min(1024, logits.shape[1]) + 1), K_RANGE, f"{shown(k)} with a value outside")


@operator("npu::npu_top_k_top_p", check=check)
def npu_top_k_top_p(logits: Tensor, p: Tensor, k: Tensor) -> Tensor:
    """Return the logits with -inf everywhere but at the k largest that also make up the top p.

    Values equal to the k-th largest stay. Probabilities are the softmax of what k left; those that lie in the
    smallest ones summing to at most 1 - p go, the largest always stays.

    Args:
        logits: [B, V].
        p: [B], the logits' dtype.
        k: int32 [B], 1 to min(1024, V).
    """
    ascending, token_from_rank = logits.sort(dim=-1, stable=True)
    smallest = ascending.gather(-1, (logits.shape[-1] - k.long()).unsqueeze(-1))
    ascending = ascending.masked_fill(ascending < smallest, -math.inf)
    mass = torch.softmax(ascending.float(), -1).cumsum(-1)
    dropped = mass <= 1 - p.float().unsqueeze(-1)
    dropped[..., -1:] = False
    return torch.empty_like(logits).scatter(-1, token_from_rank, ascending.masked_fill(dropped, -math.inf))
