"""Compares the engine with what the hooks expect, and registers them with the engine's own registry."""

from __future__ import annotations

import inspect
import os
import pkgutil
from dataclasses import fields
from typing import Any

from workbench.adapters.sglang.session import SglangSession
from workbench.adapters.sglang.signatures import (
    PARAMETERS,
    PROCESS,
    RUN,
    SAMPLE,
    SIMULATED,
    VERIFY_FIELDS,
    VERIFY_INPUT,
    VERSION,
)


class UnsupportedSglangError(Exception):
    """The engine is not the one that the hooks know; the message names the first difference."""


def install(folder: str) -> SglangSession:
    """Register the hooks of this process.

    Raises:
        UnsupportedSglangError: Something that is hooked has other parameters, or acceptance is simulated.
    """
    if float(os.environ.get(SIMULATED) or 0) > 0:
        raise UnsupportedSglangError(
            f"{SIMULATED} is set: acceptance is simulated, there is nothing to judge"
        )
    require_known()
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    session = SglangSession(folder)
    for target, hook in ((RUN, session.run), (SAMPLE, session.sample), (PROCESS, session.process)):
        HookRegistry.register(target, hook, HookType.AROUND)
    return session


def require_known() -> None:
    """Compare signatures.

    Raises:
        UnsupportedSglangError: One differs.
    """
    for target, expected in PARAMETERS.items():
        found = _parameters(target)
        if found != expected:
            takes = "it is not there" if found is None else f"it takes ({', '.join(found)})"
            raise _differs(f"{target} should take ({', '.join(expected)}), {takes}")
    kind = _resolved(VERIFY_INPUT)
    there = set() if kind is None else {each.name for each in fields(kind)}
    for name in VERIFY_FIELDS:
        if name not in there:
            raise _differs(f"{VERIFY_INPUT} should have a field {name}")


def _parameters(target: str) -> tuple[str, ...] | None:
    found = _resolved(target)
    return None if found is None else tuple(inspect.signature(found).parameters)


def _resolved(target: str) -> Any:
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError):
        return None


def _differs(how: str) -> UnsupportedSglangError:
    import sglang

    return UnsupportedSglangError(f"sglang {sglang.__version__}: {how}; known version: {VERSION}")
