"""Legal and broken calls of every operator of the border, one file each.

Files are found by themselves, by `LEGAL` (form to call) and `BROKEN` (rule to call). A new operator needs its
file in `workbench/npu/operators` and one here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any

from workbench.kernels.calls.common import Call
from workbench.npu.signature import Signature

_MODULES = [importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]

LEGAL: dict[str, Call] = {
    name: call for each in _MODULES for name, call in getattr(each, "LEGAL", {}).items()
}
"""By the name of the form."""
BROKEN: dict[str, Call] = {
    rule: call for each in _MODULES for rule, call in getattr(each, "BROKEN", {}).items()
}
"""By the rule that refuses the call."""


def sample(name: str) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return a legal call of an operator as a user writes it: without default the arguments by position."""
    call = dict(next(build() for operator, build in LEGAL.values() if operator == name))
    signature = Signature.pinned(name)
    leading = [one for one in signature.as_python.parameters if one not in signature.defaults]
    return tuple(call.pop(argument) for argument in leading), call
