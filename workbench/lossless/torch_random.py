"""Torch's random functions fork for as long as a mode is on. Imported where torch is there already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from workbench.lossless.expressions import Uncertain
from workbench.lossless.sources import ForkingChance, ForkingGenerator
from workbench.lossless.torch_draws import DrawTensor, as_tensor, become, followed


def _shape(size: tuple[Any, ...], options: dict[str, Any]) -> tuple[int, ...]:
    given = options.get("size", size[0] if len(size) == 1 and not isinstance(size[0], int) else size)
    return tuple(int(each) for each in given)


BITS: Final = {torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


def _uniform(chance: ForkingChance, dtype: Any) -> Callable[[], Any]:
    return lambda: chance.uniform_draw(BITS.get(dtype, 53))


def _rand(chance: ForkingChance, *size: Any, **options: Any) -> Any:
    dtype = options.get("dtype") or torch.get_default_dtype()
    return as_tensor(chance.filled(_shape(size, options), _uniform(chance, dtype)), dtype)


def _rand_like(chance: ForkingChance, tensor: Any, **options: Any) -> Any:
    return as_tensor(
        chance.filled(tuple(tensor.shape), _uniform(chance, options.get("dtype") or tensor.dtype)),
        options.get("dtype") or tensor.dtype,
    )


def _uniform_(chance: ForkingChance, tensor: Any, low: float = 0.0, high: float = 1.0, **_: Any) -> Any:
    draw = _uniform(chance, tensor.dtype)
    return become(tensor, chance.filled(tuple(tensor.shape), lambda: low + (high - low) * draw()))


def _exponential_(chance: ForkingChance, tensor: Any, lambd: float = 1.0, **_: Any) -> Any:
    return become(tensor, chance.exponential_rows(tuple(tensor.shape)) / lambd)


def _multinomial(
    chance: ForkingChance, probs: Any, num_samples: int, replacement: bool = False, **_: Any
) -> Any:
    rows = [[float(each) for each in row] for row in probs.reshape(-1, probs.shape[-1]).tolist()]
    drawn: list[list[int]] = []
    for weights in rows:
        found: list[int] = []
        for _unused in range(num_samples):
            found.append(chance.index(weights, "multinomial"))
            if not replacement:
                weights[found[-1]] = 0.0
        drawn.append(found)
    return torch.tensor(drawn).reshape(*probs.shape[:-1], num_samples)


def _bernoulli(chance: ForkingChance, probs: Any, **_: Any) -> Any:
    flat = [1.0 - chance.index([float(p), 1 - float(p)], "bernoulli") for p in probs.reshape(-1).tolist()]
    return torch.tensor(flat, dtype=probs.dtype).reshape(probs.shape)


def _randint(chance: ForkingChance, *args: Any, **options: Any) -> Any:
    numbers = [each for each in args if isinstance(each, int)]
    low, high = (0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
    shape = options.get("size") or next(each for each in args if not isinstance(each, int))
    found = chance.filled(tuple(shape), lambda: low + chance.integer(high - low))
    return torch.tensor(np.asarray(found, dtype=np.int64))


def _randperm(chance: ForkingChance, n: int, **_: Any) -> Any:
    return torch.tensor(chance.order(n))


RANDOM: Final[Mapping[str, Callable[..., Any]]] = {
    "rand": _rand,
    "rand_like": _rand_like,
    "uniform_": _uniform_,
    "exponential_": _exponential_,
    "multinomial": _multinomial,
    "bernoulli": _bernoulli,
    "randint": _randint,
    "randperm": _randperm,
}


class _Forking(TorchFunctionMode):
    """Answers calls of torch's random functions, and of any function on a tensor of draws."""

    def __init__(self, generator: ForkingGenerator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        if name in RANDOM:
            return RANDOM[name](self._generator.chance, *args, **options)
        if any(isinstance(each, (DrawTensor, Uncertain)) for each in _flat((args, tuple(options.values())))):
            return followed(function, name, args, options)
        return function(*args, **options)


def _flat(values: Any) -> Iterator[Any]:
    for each in values:
        if isinstance(each, (list, tuple)):
            yield from _flat(each)
        else:
            yield each


@contextmanager
def torch_forks(generator: ForkingGenerator) -> Iterator[None]:
    """Let torch's random functions fork, for as long as this lasts."""
    with _Forking(generator):
        yield
