"""Contract of `npu_swiglu`."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from workbench.npu.contracts.rules import UNSUPPORTED, Rule, catalogue, need
from workbench.npu.contracts.tensors import FLOATS

SWIGLU: Final = "npu_swiglu"
_PAGE: Final = "op-plugin page of npu_swiglu"

DTYPE = Rule("NPU-SWIGLU-DTYPE", SWIGLU, "input", "float32, float16 or bfloat16", _PAGE, UNSUPPORTED)
RANK = Rule("NPU-SWIGLU-RANK", SWIGLU, "input", "1 to 8 axes", _PAGE, UNSUPPORTED)
DIM = Rule("NPU-SWIGLU-DIM", SWIGLU, "dim", "an axis of the input", _PAGE, UNSUPPORTED)
EMPTY = Rule("NPU-SWIGLU-EMPTY", SWIGLU, "input", "at least one element", _PAGE, UNSUPPORTED)
EVEN = Rule("NPU-SWIGLU-EVEN", SWIGLU, "input", "an even size on the split axis", _PAGE, UNSUPPORTED)
CONTIGUOUS = Rule(
    "NPU-SWIGLU-CONTIGUOUS",
    SWIGLU,
    "input",
    "a contiguous tensor",
    _PAGE,
    "undefined",
)

RULES = catalogue(globals())


def check_swiglu(input: Tensor, dim: int = -1) -> None:  # noqa: A002  # schema name
    """Check one call of `npu_swiglu`.

    Raises:
        ContractError: naming the rule.
    """
    need(input.dtype in FLOATS, DTYPE, input.dtype)
    need(1 <= input.dim() <= 8, RANK, input)
    need(-input.dim() <= dim < input.dim(), DIM, dim)
    need(input.numel() > 0, EMPTY, input)
    need(input.shape[dim] % 2 == 0, EVEN, input)
    need(input.is_contiguous(), CONTIGUOUS, f"strided {input.stride()}")
