"""Watch a user's own process: every Ascend operator against its contract, every index against its bound.

Nothing is changed: a call runs with its own arguments and returns, or raises, what it would have.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tracing.errors import ContractError
from tracing.finding import Finding
from tracing.moment import Moment
from workbench.npu import operators
from workbench.npu.bootstrap import current
from workbench.npu.dispatch import kernel_text
from workbench.npu.indexing import INDEXED_OPERATORS, index_reads
from workbench.npu.modes import Mode, use_mode
from workbench.npu.observations import IndexSite, Observations, WatchTrace
from workbench.npu.signature import Signature

_ASCEND: Final = ("npu", "atb")
_TORCH: Final = Path(torch.__file__).parent
_SKIPPED: Final = tuple(
    f"{folder}{os.sep}" for folder in (_TORCH, _TORCH.with_name("torch_npu"), Path(__file__).parent)
)
"""Folders whose frames are not the caller's; the separator keeps `torchvision` and the like in."""
_PACKAGES: Final = ("site-packages", "dist-packages")


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's hook for subclasses is untyped
    """What `workbench.npu.watch` enters; observes the thread that enters it.

    Reading an index tensor's values waits for the device: a watched run is slower, never different.

    Attributes:
        seen: The observations so far.
    """

    def __init__(
        self,
        trace: WatchTrace | None = None,
        *,
        path: str = "fused",
        moment: Callable[[], Moment] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self.seen = Observations(trace, path, moment or (lambda: Moment(0)))

    @property
    def findings(self) -> list[Finding]:
        """Broken contracts and illegal index values, one per site and rule."""
        return self.seen.findings

    @property
    def sites(self) -> Mapping[str, IndexSite]:
        """Index uses by site, `file:line operator`."""
        return self.seen.sites

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Inspect the call, then make it unchanged."""
        named = dict(kwargs or {})
        try:
            self._inspect(func, args, named)
        except Exception as problem:  # noqa: BLE001  # never stop the path under test; the gap is recorded
            self.seen.not_inspected.setdefault(str(func), f"{type(problem).__name__}: {problem}")
        return func(*args, **named)

    def _inspect(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if func.namespace in _ASCEND:
            self._inspect_operator(func, args, kwargs)
            return
        name = _plain_name(func)
        if name in INDEXED_OPERATORS:
            for index, bound in index_reads(name, signature_of(func).bind(args, kwargs)):
                self._inspect_index(name, index, bound)

    def _inspect_operator(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name = func.overloadpacket.__name__
        chosen = current()
        backend = chosen.name if chosen else "the process itself"
        self.seen.kernel(name, kernel_text(name, signature_of(func).bind(args, kwargs), backend))
        operator = operators.OPERATORS.get(func.name())
        if operator is None:
            self.seen.unchecked.add(func.name())
            return
        try:
            with use_mode(Mode.STRICT):
                operator.check(*args, **kwargs)
        except ContractError as broken:
            self.seen.broken_contract(broken, call_site())

    def _inspect_index(self, name: str, index: torch.Tensor, bound: int) -> None:
        if index.is_meta:  # a meta tensor has no values
            return
        minimum, maximum = (int(value) for value in torch.aminmax(index))
        use = {"minimum": minimum, "maximum": maximum, "bound": bound}
        self.seen.index(name, INDEXED_OPERATORS[name], call_site(), **use)


def _plain_name(func: Any) -> str:
    """Return `index_put` for `aten::index_put_`, `aten::_index_put_impl_` and `aten::_unsafe_index_put`."""
    name: str = func.overloadpacket.__name__
    return name.removeprefix("_unsafe").strip("_").removesuffix("_impl")


@cache
def signature_of(func: Any) -> Signature:
    """Return the arguments of an overload as torch dispatches it."""
    return Signature(func._schema)  # noqa: SLF001  # torch has no public way to the argument names


def call_site() -> str:
    """Return `file:line` of the innermost frame outside torch and this package, e.g. `port/verify.py:88`.

    Paths are short, so that a trace does not carry a machine's folders: relative to the working folder or
    to the installed packages, else the last two parts.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # inspect.stack reads source files at each call
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_SKIPPED):
            return f"{_short(file)}:{frame.f_lineno}"
        frame = frame.f_back
    return "unknown:0"


def _short(file: str) -> str:
    path = Path(file)
    for name in _PACKAGES:
        if name in path.parts:
            return "/".join(path.parts[path.parts.index(name) + 1 :])
    if path.is_relative_to(Path.cwd()):
        return path.relative_to(Path.cwd()).as_posix()
    return "/".join(path.parts[-2:])
