"""Contracts of `npu_moe_gating_top_k` and `npu_moe_gating_top_k_softmax`."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from workbench.npu.contracts.rules import UNSUPPORTED, NotModelledError, Rule, catalogue, need
from workbench.npu.contracts.tensors import FLOATS

GATING: Final = "npu_moe_gating_top_k"
SOFTMAX: Final = "npu_moe_gating_top_k_softmax"
_PAGE: Final = "op-plugin page of npu_moe_gating_top_k"
_SOFTMAX_PAGE: Final = "op-plugin page of npu_moe_gating_top_k_softmax"
MOST: Final = 2048
"""Largest number of experts, padding of the groups included."""

INPUT = Rule("NPU-MOE-INPUT", GATING, "x", "2 axes of float16, bfloat16 or float32", _PAGE, UNSUPPORTED)
EXPERTS = Rule(
    "NPU-MOE-EXPERTS",
    GATING,
    "x",
    "at most 2048 experts, counting each group as a multiple of 32",
    _PAGE,
    UNSUPPORTED,
)
GROUPS = Rule("NPU-MOE-GROUPS", GATING, "group_count", "a divisor of the experts", _PAGE, UNSUPPORTED)
GROUP_SIZE = Rule(
    "NPU-MOE-GROUP-SIZE",
    GATING,
    "group_count",
    "groups of more than 2 experts",
    f"{_PAGE}; the aclnn page asks for more than group_select_mode",
    UNSUPPORTED,
)
K_GROUP = Rule("NPU-MOE-K-GROUP", GATING, "k_group", "1 to group_count", _PAGE, UNSUPPORTED)
TOP = Rule("NPU-MOE-K", GATING, "k", "1 to the experts of k_group groups", _PAGE, UNSUPPORTED)
SELECT = Rule("NPU-MOE-GROUP-SELECT", GATING, "group_select_mode", "0 or 1", _PAGE, UNSUPPORTED)
NORM = Rule("NPU-MOE-NORM-TYPE", GATING, "norm_type", "0 (softmax) or 1 (sigmoid)", _PAGE, UNSUPPORTED)
RENORM = Rule(
    "NPU-MOE-RENORM",
    GATING,
    "renorm",
    "0",
    f"{_PAGE}; the aclnn page allows 1 with softmax",
    "1 with softmax divides the weights by their sum where it is accepted",
    runs=True,
)
BIAS = Rule("NPU-MOE-BIAS", GATING, "bias", "one value per expert in the dtype of x", _PAGE, UNSUPPORTED)
SOFTMAX_INPUT = Rule(
    "NPU-MOES-INPUT",
    SOFTMAX,
    "x",
    "2 or 3 axes of float16, bfloat16 or float32",
    _SOFTMAX_PAGE,
    UNSUPPORTED,
)
SOFTMAX_TOP = Rule(
    "NPU-MOES-K", SOFTMAX, "k", "1 to 1024 and no more than the experts", _SOFTMAX_PAGE, UNSUPPORTED
)
FINISHED = Rule("NPU-MOES-FINISHED", SOFTMAX, "finished", "bool, one per row", _SOFTMAX_PAGE, UNSUPPORTED)

RULES = catalogue(globals())


def check_moe_gating_top_k(
    x: Tensor,
    k: int,
    *,
    bias: Tensor | None = None,
    input_ids: Tensor | None = None,
    tid2eid: Tensor | None = None,
    k_group: int = 1,
    group_count: int = 1,
    group_select_mode: int = 0,
    renorm: int = 0,
    norm_type: int = 0,
    out_flag: bool = False,
    routed_scaling_factor: float = 1.0,
    eps: float = 1e-20,
) -> None:
    """Check one call of `npu_moe_gating_top_k`.

    Raises:
        ContractError: naming the rule.
        NotModelledError: for routing by token id.
    """
    del out_flag, routed_scaling_factor, eps  # every value is defined
    if input_ids is not None or tid2eid is not None:
        raise NotModelledError(
            f"{GATING}: routing by token id may be legal, but is not covered; nothing was checked"
        )
    need(x.dim() == 2 and x.dtype in FLOATS, INPUT, x)
    experts = x.shape[1]
    need(group_count > 0 and experts % group_count == 0, GROUPS, group_count)
    size = experts // group_count
    need(-(-size // 32) * 32 * group_count <= MOST, EXPERTS, f"{group_count} groups of {size}")
    need(size > 2, GROUP_SIZE, f"{group_count} groups of {size}")
    need(1 <= k_group <= group_count, K_GROUP, k_group)
    need(1 <= k <= size * k_group, TOP, k)
    need(group_select_mode in {0, 1}, SELECT, group_select_mode)
    need(norm_type in {0, 1}, NORM, norm_type)
    need(renorm == 0, RENORM, renorm)
    if bias is not None:
        need(tuple(bias.shape) == (experts,) and bias.dtype is x.dtype, BIAS, bias)


def check_moe_gating_top_k_softmax(x: Tensor, finished: Tensor | None = None, k: int = 1) -> None:
    """Check one call of `npu_moe_gating_top_k_softmax`.

    Raises:
        ContractError: naming the rule.
    """
    need(x.dim() in {2, 3} and x.dtype in FLOATS, SOFTMAX_INPUT, x)
    need(1 <= k <= min(1024, x.shape[-1]), SOFTMAX_TOP, k)
    if finished is not None:
        need(finished.dtype is torch.bool and finished.shape == x.shape[:-1], FINISHED, finished)
