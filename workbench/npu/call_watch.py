"""Watch a user's own process: every Ascend operator against its contract, every index against its bound.

Nothing is changed: a call runs with its own arguments and returns, or raises, what it would have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tracing.errors import ContractError
from tracing.finding import Finding
from tracing.moment import Moment
from workbench.npu import operators
from workbench.npu.bootstrap import current
from workbench.npu.call_site import call_site
from workbench.npu.dispatch import kernel_text
from workbench.npu.indexing import INDEXED_OPERATORS, index_reads
from workbench.npu.modes import Mode, use_mode
from workbench.npu.observations import IndexSite, Observations, WatchTrace
from workbench.npu.signature import Signature

_ASCEND: Final = ("npu", "atb")


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
            for index, bound in index_reads(name, _signature(func).bind(args, kwargs)):
                self._inspect_index(name, index, bound)

    def _inspect_operator(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name = func.overloadpacket.__name__
        chosen = current()
        backend = chosen.name if chosen else "the process itself"
        self.seen.kernel(name, kernel_text(name, _signature(func).bind(args, kwargs), backend))
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
def _signature(func: Any) -> Signature:
    return Signature(func._schema)  # noqa: SLF001  # torch has no public way to the argument names
