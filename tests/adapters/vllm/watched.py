"""A tensor that counts reads on the host."""

from __future__ import annotations

from typing import Any

import torch


class Watched(torch.Tensor):
    """A tensor that counts each time its values are read on the host."""

    reads: list[str] = []  # noqa: RUF012 cleared by each test
    _READERS = frozenset(("item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "cpu"))

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ in cls._READERS:
            cls.reads.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})


def watched(values: Any) -> torch.Tensor:
    return torch.as_tensor(values).as_subclass(Watched)
