"""One path in many variants: which of its fused operators run eagerly, and in which stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple

from tracing.settings import FUSED_OPERATORS
from tracing.stages import DecodePath
from workbench.npu import dispatch

CALLS: Final[Mapping[str, str]] = {
    "attention": "npu_fused_infer_attention_score",
    "norm": "npu_rms_norm",
    "rotary": "npu_rotary_mul",
    "swiglu": "npu_swiglu",
    "scatter": "npu_scatter_pa_kv_cache",
}
"""Operators that a path can run eagerly, to what it calls where it does not."""
NETWORKED: Final = ("prefill", "draft", "verify")
EVERYWHERE: Final = ""
"""In place of a stage: wherever the path calls the operator."""


class Unit(NamedTuple):
    """What is swapped as one: an operator in a stage, or wherever it is called."""

    operator: str
    stage: str = EVERYWHERE

    def __str__(self) -> str:
        """Return its name in a report."""
        return f"{self.operator} in {self.stage}" if self.stage else self.operator


Eager = frozenset[Unit]
MakePath = Callable[[frozenset[str]], DecodePath]
"""Makes the path with these operators eager in all stages."""


@dataclass(slots=True)
class Variants:
    """Variants of a path.

    Attributes:
        make: Builds it; called once for each set of operators.
        by_stage: Whether stages of two variants can work on one state. So it is for our own path; of a port
            only whole variants are known to work.
    """

    make: MakePath
    by_stage: bool = True
    _made: dict[frozenset[str], DecodePath] = field(default_factory=dict)

    def path(self, eager: Eager) -> DecodePath:
        """Return the path with these units eager and all others as they are."""
        base = self._variant(frozenset(each.operator for each in eager if not each.stage))
        stages = {
            stage: getattr(self._variant(operators).stages, stage)
            for stage in NETWORKED
            if (operators := frozenset(each.operator for each in eager if each.stage in (stage, EVERYWHERE)))
        }
        return replace(base, stages=replace(base.stages, **stages))

    def _variant(self, operators: frozenset[str]) -> DecodePath:
        if operators not in self._made:
            self._made[operators] = self.make(operators)
        return self._made[operators]

    def units(self, called: frozenset[Unit]) -> tuple[Unit, ...]:
        """Return what can be swapped of the operators that a run called, in a fixed order."""
        if not self.by_stage:
            return tuple(Unit(name) for name in FUSED_OPERATORS)
        mixed = [
            Unit(name, stage)
            for name in FUSED_OPERATORS
            if name != "scatter"
            for stage in NETWORKED
            if Unit(name, stage) in called
        ]
        # A cache writes rows as it was made to, whichever stage hands them over.
        is_paged = any(each.operator == "scatter" for each in called)
        return (*mixed, *((Unit("scatter"),) if is_paged else ()))


@contextmanager
def calls_noted(path: DecodePath, called: set[Unit]) -> Iterator[DecodePath]:
    """Give a path that notes which operators its stages call through this process's dispatch."""
    now = [EVERYWHERE]

    def noting(name: str, function: Callable[..., Any], *given: Any, **options: Any) -> Any:
        called.add(Unit(name, now[0]))
        return function(*given, **options)

    def within(stage: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            now[0] = stage
            try:
                return run(*given)
            finally:
                now[0] = EVERYWHERE

        return noted

    def wrapper(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return lambda function: partial(noting, name, function)

    with ExitStack() as stack:
        for name, function in CALLS.items():
            stack.enter_context(dispatch.wrapped(function, wrapper(name)))
        stages = {
            stage: within(stage, run)
            for stage in NETWORKED
            if (run := getattr(path.stages, stage)) is not None
        }
        yield replace(path, stages=replace(path.stages, **stages))
