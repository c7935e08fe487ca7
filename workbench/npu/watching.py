"""Watch a user's own process: every Ascend operator against its contract, every index against its bound.

Nothing is changed: a call runs with the arguments it came with and returns, or raises, what it would have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tracing.errors import ContractError
from tracing.finding import Finding
from tracing.moment import Moment
from workbench.npu.bootstrap import current
from workbench.npu.call_site import call_site
from workbench.npu.calls import kernel_text
from workbench.npu.index_reads import index_reads
from workbench.npu.index_rules import INDEX_RULES
from workbench.npu.ledger import IndexSite, Ledger, WatchTrace
from workbench.npu.modes import Mode, use_mode

_ASCEND: Final = ("npu", "atb")


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's hook for subclasses is untyped
    """What `workbench.npu.watch` enters; sees the thread that enters it.

    Reading an index tensor's values waits for the device: a watched run is slower, never different.

    Attributes:
        seen: What was seen so far.
    """

    def __init__(
        self,
        trace: WatchTrace | None = None,
        *,
        checks: Mapping[str, Callable[..., Any]] | None = None,
        path: str = "fused",
        moment: Callable[[], Moment] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = Ledger(trace, path, moment or (lambda: Moment(0)))
        self._checks = _our_checks() if checks is None else checks

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
        """Look at the call, then make it unchanged."""
        named = dict(kwargs or {})
        try:
            self._look(func, args, named)
        except Exception as problem:  # noqa: BLE001  # the path under test must live; what was not seen is told
            self.seen.blind.setdefault(str(func), f"{type(problem).__name__}: {problem}")
        return func(*args, **named)

    def _look(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if func.namespace in _ASCEND:
            self._look_at_operator(func, args, kwargs)
            return
        name = _plain_name(func)
        if name in INDEX_RULES:
            for index, bound in index_reads(name, args):
                self._look_at_index(name, index, bound)

    def _look_at_operator(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name = func.overloadpacket.__name__
        self.seen.saw_kernel(name, kernel_text(name, _by_name(func, args, kwargs), way=_way()))
        check = self._checks.get(func.name())
        if check is None:
            self.seen.unchecked.add(func.name())
            return
        try:
            with use_mode(Mode.STRICT):
                check(*args, **kwargs)
        except ContractError as broken:
            self.seen.saw_broken_contract(broken, call_site())

    def _look_at_index(self, name: str, index: torch.Tensor, bound: int) -> None:
        if index.is_meta:  # a meta tensor has no values
            return
        minimum, maximum = (int(value) for value in torch.aminmax(index))
        self.seen.saw_index(name, call_site(), minimum, maximum, bound)


def _plain_name(func: Any) -> str:
    """Return `index_put` for `aten::index_put_`, `aten::_index_put_impl_` and `aten::_unsafe_index_put`."""
    name: str = func.overloadpacket.__name__
    return name.removeprefix("_unsafe").strip("_").removesuffix("_impl")


def _by_name(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the call's arguments by name, defaults filled in."""
    schema = func._schema.arguments  # noqa: SLF001  # torch has no public way to the argument names
    defaults = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    given = {argument.name: value for argument, value in zip(schema, args, strict=False)}
    return defaults | given | kwargs


def _way() -> str:
    taken = current()
    return taken.name if taken else "the process itself"


def _our_checks() -> Mapping[str, Callable[..., Any]]:
    from workbench.npu.operators import OPERATORS

    return {name: operator.check for name, operator in OPERATORS.items()}
