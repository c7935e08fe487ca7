"""Faults of a captured graph: a stage works on what an earlier call left, or decides by chance.

The buffers belong to the graph, not to the state of a decode: a copy of the state reads them as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, cast

import numpy as np
import torch

from tracing.stages import Drafted, Prefilled
from workbench.faults.fault import fault
from workbench.faults.placement import (
    Change,
    Placer,
    Scene,
    Spoil,
    after,
    on_engine,
    on_function,
    once_per_run,
)
from workbench.fused.drafters import eagle3
from workbench.fused.drafters.eagle3 import NewRows
from workbench.fused.engine import Engine
from workbench.fused.teacher import Teacher

FEED: Final = on_function(eagle3, "_feed_committed")


@dataclass
class CapturedTeacher:
    """A teacher whose input buffer is filled after the launch that should have read it.

    Attributes:
        teacher: The one that is captured.
        of_context: Whether the launches over a context are captured; else those over a tree.
        buffer: Token ids of the launch before, by their number.
    """

    teacher: Any
    of_context: bool
    buffer: dict[int, torch.Tensor] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the teacher's."""
        return getattr(self.teacher, name)

    def forward(self, token_ids: torch.Tensor, *rest: Any, **options: Any) -> Any:
        """Launch on the tokens of the launch before; on zeros at first, as captured."""
        if self.of_context is not options.get("last_only", False):
            return self.teacher.forward(token_ids, *rest, **options)
        size = len(token_ids)
        fresh = torch.zeros_like(token_ids) if self.of_context else token_ids
        before, self.buffer[size] = self.buffer.get(size, fresh), token_ids.clone()
        return self.teacher.forward(before, *rest, **options)


def _captured(of_context: bool) -> Placer:
    def placer(_: Spoil) -> Any:
        def change(engine: Engine) -> Engine:
            return replace(engine, teacher=cast("Teacher", CapturedTeacher(engine.teacher, of_context)))

        return on_engine(change)

    return placer


captured: Final = partial(fault, noticed_by=("JUDGE-STALE",))


@captured("F-STALE-01", "va#7549", "va#9290", stage="verify", placed=_captured(of_context=False))
def verify_tokens_of_the_step_before() -> None:
    """The captured verify launch reads the token ids of the step before."""


@captured("F-STALE-02", "sgl#10616", stage="prefill", placed=_captured(of_context=True))
def prefill_context_of_the_capture() -> None:
    """The captured prefill launch reads the context of the launch before, at first that of its capture."""


@captured("F-STALE-03", "va#7549", stage="draft", placed=once_per_run(FEED))
def draft_root_of_the_step_before() -> Callable[..., Any]:
    """The captured draft launch is fed the root of the step before."""
    buffer: list[torch.Tensor] = []

    def feed(original: Callable[..., Any], drafter: Any, memory: Any, new: NewRows, turn: Any) -> Any:
        own = new.token_ids[-1:].clone()
        fed = torch.cat([new.token_ids[:-1], buffer[0] if buffer else own])
        buffer[:] = [own]
        return original(drafter, memory, NewRows(new.features, fed), turn)

    return feed


def _noise() -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what changes a tensor by a part in ten million, each time in another way."""
    launches = itertools.count()

    def noisy(values: torch.Tensor) -> torch.Tensor:
        random = torch.Generator().manual_seed(next(launches))
        noise = torch.randn(values.shape, generator=random).to(values.device)
        return values * (1 + 2e-7 * noise)

    return noisy


by_chance: Final = partial(fault, noticed_by=("JUDGE-REPEAT",))


@by_chance("F-STALE-04", "va#9456", stage="prefill", placed=once_per_run(after("prefill")))
def prefill_sums_in_any_order() -> Change:
    """Two prefills of one context differ in the last bit: sums end in the order in which cores finish."""
    noisy = _noise()

    def change(made: Prefilled, _: Scene) -> Prefilled:
        return replace(made, logits=None if made.logits is None else noisy(made.logits))

    return change


@by_chance("F-STALE-05", "vllm#13196", stage="draft", placed=once_per_run(after("draft")))
def draft_sums_in_any_order() -> Change:
    """Two drafts of one step differ in the last bit of their scores, and in nothing else."""
    launches = itertools.count()

    def change(made: Drafted, _: Scene) -> Drafted:
        factor = np.float32(1 + 2e-7 * (next(launches) % 3))
        assert made.logprobs is not None
        levels = tuple(replace(each, scores=each.scores * factor) for each in made.levels or ())
        return replace(made, logprobs=made.logprobs * factor, levels=levels)

    return change
