"""How contracts treat what the documentation leaves open, and which contested features it may rely on.

*strict* (the default): whatever is undefined, undocumented or known to fail raises `ContractError`.
*hardware*: what the device is documented to run anyway runs here too, with the documented symptom (a fully
masked row is the mean of V, an inverted mask is obeyed). What the device refuses is refused in both modes.
float32 off the device is the one relaxation, in both modes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Final, TypeVar

from tracing.errors import UsageError

T = TypeVar("T")


class Mode(StrEnum):
    """The two ways of treating a call that the device would run but should not be given."""

    STRICT = "strict"
    HARDWARE = "hardware"


CAPABILITIES: Final = {
    "tree_mask_gqa": "sparse_mode 9 without rope tensors (plain GQA); pages and host code disagree",
    "mask_q1": "an attention mask with one query row; entries past KV position 512 were seen to be ignored",
}
"""Contested features, off unless the capability table or an experiment on the device affirms them."""

_mode: ContextVar[Mode] = ContextVar("npu_mode", default=Mode.STRICT)
_capabilities: ContextVar[frozenset[str]] = ContextVar("npu_capabilities", default=frozenset())


def is_hardware() -> bool:
    """Whether calls that the device runs with a documented symptom are let through."""
    return _mode.get() is Mode.HARDWARE


@contextmanager
def _set(variable: ContextVar[T], value: T) -> Iterator[T]:
    token = variable.set(value)
    try:
        yield value
    finally:
        variable.reset(token)


def use_mode(mode: Mode | str) -> AbstractContextManager[Mode]:
    """Run the body in `mode`.

    Raises:
        UsageError: for an unknown mode.
    """
    try:
        chosen = Mode(mode)
    except ValueError:
        raise UsageError(f"npu mode should be one of {[str(m) for m in Mode]}, got {mode!r}") from None
    return _set(_mode, chosen)


def has_capability(name: str) -> bool:
    """Whether the contested feature `name` (a key of `CAPABILITIES`) may be used."""
    return name in _capabilities.get()


def use_capabilities(names: Iterable[str]) -> AbstractContextManager[frozenset[str]]:
    """Run the body with exactly these contested features allowed.

    Raises:
        UsageError: for a name that `CAPABILITIES` does not list.
    """
    chosen = frozenset(names)
    if unknown := sorted(chosen - CAPABILITIES.keys()):
        raise UsageError(f"capabilities should be among {sorted(CAPABILITIES)}, got {unknown}")
    return _set(_capabilities, chosen)
