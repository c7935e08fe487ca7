"""The functions of `random`, `numpy.random`, `math` and torch fork, for as long as a context lasts."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from workbench.lossless.expressions import Uncertain
from workbench.lossless.sources import ForkingGenerator, ForkingRandom

_OF_RANDOM: Final = (
    "random",
    "uniform",
    "expovariate",
    "randrange",
    "randint",
    "choice",
    "choices",
    "shuffle",
    "sample",
)
_OF_NUMPY: Final = (
    "random", "rand", "random_sample", "uniform", "standard_exponential", "exponential", "gumbel", "choice",
    "multinomial", "binomial", "permutation", "shuffle",
)  # fmt: skip


@contextmanager
def modules_fork(generator: ForkingGenerator, plain: ForkingRandom) -> Iterator[None]:
    """Let the functions of `random`, `numpy.random` and `math` fork, for as long as this lasts."""
    own_log, own_exp = math.log, math.exp

    def log(value: Any, *base: Any) -> Any:
        if isinstance(value, Uncertain):
            return value.log() / (own_log(*base) if base else 1)
        return own_log(value, *base)

    def exp(value: Any) -> Any:
        return value.exp() if isinstance(value, Uncertain) else own_exp(value)

    def rand(*shape: int) -> Any:
        return generator.random(shape or None)

    with ExitStack() as stack:
        for name in _OF_RANDOM:
            stack.enter_context(patch.object(random, name, getattr(plain, name)))
        for name in _OF_NUMPY:
            stack.enter_context(patch.object(np.random, name, getattr(generator, name)))
        stack.enter_context(patch.object(np.random, "rand", rand))
        stack.enter_context(patch.object(np.random, "default_rng", lambda *_: generator))
        stack.enter_context(patch.object(random, "Random", lambda *_: plain))
        stack.enter_context(patch.object(math, "log", log))
        stack.enter_context(patch.object(math, "exp", exp))
        if "torch" in sys.modules:
            from workbench.lossless.torch_random import torch_forks

            stack.enter_context(torch_forks(generator))
        yield
