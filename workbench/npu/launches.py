"""What operators were given at one launch: address, shape and strides of masks, tables, slots and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.npu.call_watch import signature_of
from workbench.npu.emulation.attention import COMPRESSED

INPUT_OF: Final[Mapping[str, str]] = {
    "atten_mask": "blocked",
    "block_table": "block_table",
    "slot_mapping": "slots",
    "slot_indices": "slots",
}
"""Argument of an Ascend operator to the input of the step that it is."""
_TOKENS: Final = "embedding"


@dataclass(frozen=True, slots=True)
class MemoryLayout:
    """Where a tensor lies and how.

    Attributes:
        address: Of its first element.
        shape: Its shape.
        strides: In elements.
        dtype: By name.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, tensor: torch.Tensor) -> MemoryLayout:
        """Read a tensor's layout; its values are not read."""
        shape, strides = tuple(tensor.shape), tuple(tensor.stride())
        return cls(tensor.data_ptr(), shape, strides, str(tensor.dtype).removeprefix("torch."))

    @property
    def form(self) -> str:
        """All but the address, in words."""
        return f"{self.dtype} {list(self.shape)} strides {list(self.strides)}"


@dataclass(frozen=True, slots=True)
class LaunchArgument:
    """One input of a step as an operator got it.

    Attributes:
        operator: Its name.
        argument: Its argument.
        name: Which input it is, see `INPUT_OF`.
        layout: Where it lay.
    """

    operator: str
    argument: str
    name: str
    layout: MemoryLayout

    @property
    def is_template(self) -> bool:
        """Whether it is the compressed causal mask, which is the same for every launch of any shape."""
        return self.name == "blocked" and self.layout.shape[-2:] == (COMPRESSED, COMPRESSED)


class LaunchWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's hook for subclasses is untyped
    """Notes the inputs of a step at the border of its operators; observes the thread that enters it.

    Calls run as they are. The tokens are what the first embedding looks up.

    Attributes:
        seen: What was given, in order.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self.seen: list[LaunchArgument] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Note the call's inputs, then make it unchanged."""
        named = dict(kwargs or {})
        if func.namespace in {"npu", "atb"}:
            self._note(func, args, named, INPUT_OF)
        elif func.overloadpacket.__name__ == _TOKENS and all(each.name != "token_ids" for each in self.seen):
            self._note(func, args, named, {"indices": "token_ids"})
        return func(*args, **named)

    def _note(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: Mapping[str, str]
    ) -> None:
        try:
            given = signature_of(func).bind(args, kwargs)
        except TypeError:
            return  # the call itself says what is wrong with it
        for argument, name in inputs.items():
            tensor = given.get(argument)
            if isinstance(tensor, torch.Tensor) and not tensor.is_meta:
                operator = func.overloadpacket.__name__
                self.seen.append(LaunchArgument(operator, argument, name, MemoryLayout.of(tensor)))
