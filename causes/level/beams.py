"""Mistakes of the level port in positions and masks of beams; each name says what it does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from causes.level.port import mistake
from causes.mistake import bend

mistake.add("positions", "beams-one-position-on", "beam_positions", lambda right, *given: right(*given) + 1)
mistake.add(
    "positions",
    "beams-at-the-first-position",
    "beam_positions",
    lambda _, state, _level, count: torch.full((count,), state.length),
)
mistake.add(
    "positions",
    "beams-positioned-by-rank",
    "beam_positions",
    lambda right, *given: right(*given) + torch.arange(given[2]),
)
mistake.add(
    "positions", "drafter-rows-from-one", "drafter_positions", lambda right, *given: right(*given) + 1
)
mistake.add(
    "positions",
    "drafter-rows-from-zero-each-step",
    "drafter_positions",
    lambda _, start, stop: torch.arange(stop - start),
)
mistake.add(
    "mask",
    "beams-see-each-other",
    "seen_by",
    lambda _, above, count: torch.cat([above, torch.ones(count, count, dtype=torch.bool)], dim=1),
)


@mistake("mask")
def beam_rows_not_carried_over(port: Any) -> None:
    """A beam sees the rows that its rank's beam saw, not those of its parent."""
    seen: list[Tensor] = []

    def by_rank(right: Any, above: Tensor, count: int) -> Any:
        rows = above if above.shape[1] == 0 else seen[-1]
        made = right(rows, count)
        seen.append(made)
        return made

    bend(port, "seen_by", by_rank)


@mistake.bends("mask", "seen_by")
def beam_does_not_see_itself(right: Any, above: Tensor, count: int) -> Any:
    return torch.cat([above, torch.zeros(count, count, dtype=torch.bool)], dim=1)


mistake.add(
    "mask",
    "beam-does-not-see-its-parent",
    "seen_by",
    lambda right, above, count: right(torch.zeros_like(above), count),
)
