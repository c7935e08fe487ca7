"""The whole contract of one fused attention call, in the order in which later checks need earlier ones."""

from __future__ import annotations

from typing import Final

from workbench.npu.contracts.fia import lengths, masks, options, paging, tensors
from workbench.npu.contracts.fia.call import FiaCall
from workbench.npu.contracts.rules import Rule

RULES: Final[tuple[Rule, ...]] = (
    *tensors.RULES,
    *lengths.RULES,
    *paging.RULES,
    *options.RULES,
    *masks.RULES,
)


def check_call(call: FiaCall) -> None:
    """Refuse a call that breaks a rule; an empty query is answered empty, whatever else was passed.

    Raises:
        ContractError: naming the rule.
    """
    tensors.check_layout(call)
    if call.query.numel() == 0:
        return
    tensors.check_shapes(call)
    options.check_options(call)
    lengths.check_given(call)
    paging.check_paging(call)
    lengths.check_lengths(call)
    paging.check_blocks(call)
    masks.check_mask(call)
