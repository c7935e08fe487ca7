"""`npu_format_cast` between ND and FRACTAL_NZ; see `workbench.npu.formats`."""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor

from workbench.npu.contract import ContractRule, need
from workbench.npu.definition import not_modelled, operator
from workbench.npu.formats import FRACTAL_NZ, ND, tagged

CAST: Final = "npu_format_cast"
COVERS: Final = "formats ND (2) and FRACTAL_NZ (29)"
_rule: Final = partial(ContractRule, operator=CAST, source="torch_npu page of npu_format_cast")
RANK = _rule("NPU-FORMAT-RANK", "input", "2 axes or more in FRACTAL_NZ")
DTYPE = _rule("NPU-FORMAT-DTYPE", "input", "int8, int32, float16, bfloat16 or float32 in FRACTAL_NZ")
DTYPES: Final = {torch.int8, torch.int32, torch.float16, torch.bfloat16, torch.float32}


def check(*, input: Tensor, acl_format: int) -> None:  # noqa: A002  # the schema's own name
    """Check one call."""
    if acl_format not in {ND, FRACTAL_NZ}:
        not_modelled(CAST, f"format {acl_format}", COVERS)
    if acl_format == FRACTAL_NZ:
        need(input.dim() >= 2, RANK, input)
        need(input.dtype in DTYPES, DTYPE, input.dtype)


@operator(f"npu::{CAST}", check=check, covers=COVERS)
def npu_format_cast(*, input: Tensor, acl_format: int) -> Tensor:  # noqa: A002  # the schema's own name
    """Return the same values in memory of their own, tagged with the format.

    Args:
        input: Any tensor.
        acl_format: 2 for ND, 29 for FRACTAL_NZ.
    """
    return tagged(input.clone(memory_format=torch.preserve_format), acl_format)
