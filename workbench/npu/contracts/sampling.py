"""Contract of `npu_top_k_top_p`."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from workbench.npu.contracts.rules import UNSUPPORTED, Rule, catalogue, need, refuse, shown
from workbench.npu.contracts.tensors import FLOATS, in_range

TOP: Final = "npu_top_k_top_p"
_PAGE: Final = "op-plugin page of npu_top_k_top_p"

LOGITS = Rule("NPU-TOPKP-LOGITS", TOP, "logits", "(B, V) of float16, bfloat16 or float32", _PAGE, UNSUPPORTED)
BOTH = Rule(
    "NPU-TOPKP-BOTH",
    TOP,
    "p",
    "both p and k (the schema's defaults None notwithstanding)",
    f"{_PAGE}; the shape function fails without them",
    "not documented",
)
P_FORM = Rule("NPU-TOPKP-P", TOP, "p", "(B,) in the dtype of the logits", _PAGE, UNSUPPORTED)
K_FORM = Rule("NPU-TOPKP-K", TOP, "k", "(B,) int32", _PAGE, UNSUPPORTED)
K_RANGE = Rule(
    "NPU-TOPKP-K-RANGE",
    TOP,
    "k",
    "values from 1 to min(1024, V)",
    _PAGE,
    UNSUPPORTED,
)

RULES = catalogue(globals())


def both(p: Tensor | None, k: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return p and k, which the schema lets out and the operator needs.

    Raises:
        ContractError: when one is missing.
    """
    if p is None or k is None:
        refuse(BOTH, None, argument="p" if p is None else "k")
    return p, k


def check_top_k_top_p(logits: Tensor, p: Tensor | None = None, k: Tensor | None = None) -> None:
    """Check one call of `npu_top_k_top_p`.

    Raises:
        ContractError: naming the rule.
    """
    need(logits.dim() == 2 and logits.dtype in FLOATS, LOGITS, logits)
    p, k = both(p, k)
    rows = (logits.shape[0],)
    need(tuple(p.shape) == rows and p.dtype is logits.dtype, P_FORM, p)
    need(tuple(k.shape) == rows and k.dtype is torch.int32, K_FORM, k)
    need(in_range(k, 1, min(1024, logits.shape[1]) + 1), K_RANGE, f"{shown(k)} with a value outside")
