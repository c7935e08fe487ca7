"""Mistakes of the level port in positions and masks of beams; each name says what it does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from causes.level.port import bend, mistake


@mistake("positions")
def beams_one_position_on(port: Any) -> None:
    bend(port, "beam_positions", lambda right, *given: right(*given) + 1)


@mistake("positions")
def beams_at_the_first_position(port: Any) -> None:
    port.beam_positions = lambda state, _level, count: torch.full((count,), state.length)


@mistake("positions")
def beams_positioned_by_rank(port: Any) -> None:
    bend(port, "beam_positions", lambda right, *given: right(*given) + torch.arange(given[2]))


@mistake("positions")
def drafter_rows_from_one(port: Any) -> None:
    bend(port, "drafter_positions", lambda right, *given: right(*given) + 1)


@mistake("positions")
def drafter_rows_from_zero_each_step(port: Any) -> None:
    port.drafter_positions = lambda start, stop: torch.arange(stop - start)


@mistake("mask")
def beams_see_each_other(port: Any) -> None:
    port.seen_by = lambda above, count: torch.cat([above, torch.ones(count, count, dtype=torch.bool)], dim=1)


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


@mistake("mask")
def beam_does_not_see_itself(port: Any) -> None:
    def without(right: Any, above: Tensor, count: int) -> Any:
        return torch.cat([above, torch.zeros(count, count, dtype=torch.bool)], dim=1)

    bend(port, "seen_by", without)


@mistake("mask")
def beam_does_not_see_its_parent(port: Any) -> None:
    bend(port, "seen_by", lambda right, above, count: right(torch.zeros_like(above), count))
