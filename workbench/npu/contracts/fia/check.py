"""The whole contract of one fused attention call, in the order in which later checks need earlier ones."""

from __future__ import annotations

from workbench.npu.contracts.fia.call import FiaCall


def check_call(call: FiaCall) -> None:
    """Refuse a call that breaks a rule.

    Raises:
        ContractError: naming the rule.
    """
