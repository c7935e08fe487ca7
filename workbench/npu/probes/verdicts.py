"""How a probe reads the device's answer to a call that it may refuse."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from tracing.errors import ContractError

REFUSALS: Final = (ContractError, RuntimeError, ValueError, TypeError)
"""What a refused call raises: our contract off the device, torch_npu on it."""

KERNEL_FAULTS: Final = ("507011", "507015", "507035")
"""Error codes of a kernel that ran and died (aicore, vector core); that is no refusal."""


def accepted(call: Callable[[], Any]) -> str:
    """Return `accepted` or `refused`; the copy to the host waits for the device's own verdict."""
    try:
        result = call()
        for tensor in result if isinstance(result, tuple) else (result,):
            tensor.cpu()
    except REFUSALS as refusal:
        return refused(refusal)
    return "accepted"


def refused(refusal: Exception) -> str:
    """Return `refused`; the reason goes to standard error, for the probe's log.

    Raises:
        Exception: The refusal itself when it reports a kernel fault; the probe then fails, unanswered.
    """
    if any(code in str(refusal) for code in KERNEL_FAULTS):
        raise refusal
    print(f"refused: {refusal}", file=sys.stderr)
    return "refused"
