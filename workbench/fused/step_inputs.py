"""Inputs of verify at fixed places: what a graph that is captured once reads at every launch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tracing.stages import Tensorized
from workbench.fused.cache.pages import BlockTable, Pages


@dataclass(frozen=True, slots=True)
class StepInputs:
    """Buffers of one decode: their contents are refreshed before each launch, nothing else changes.

    Attributes:
        token_ids, position_ids: int64 `[N]`.
        slots: int64 `[N]`, of a paged cache; None of a contiguous one.
        block_table: int32 `[1, blocks]`, likewise.
        blocked: Mask by the window of a layer, bool `[1, 1, N, W]`, True is left out; W fits any context.
    """

    token_ids: Tensor
    position_ids: Tensor
    slots: Tensor | None
    block_table: Tensor | None
    blocked: Mapping[int, Tensor]

    @classmethod
    def of(
        cls, num_rows: int, most_rows: int, windows: tuple[int, ...], block_size: int, device: torch.device
    ) -> Self:
        """Make buffers.

        Args:
            num_rows: N.
            most_rows: Rows of the longest context, its tree included.
            windows: Window of each layer, 0 for none.
            block_size: Of a paged cache; 0 for a contiguous one.
            device: Where they lie.
        """
        most = BlockTable(block_size or 1)
        if block_size:
            most.reserve(most_rows)
        width, blocks = (most.num_slots, len(most.block_ids)) if block_size else (most_rows, 0)
        with torch.inference_mode(mode=False):
            shape = (1, 1, num_rows, width)
            return cls(
                token_ids=torch.zeros(num_rows, dtype=torch.int64, device=device),
                position_ids=torch.zeros(num_rows, dtype=torch.int64, device=device),
                slots=torch.zeros(num_rows, dtype=torch.int64, device=device) if blocks else None,
                block_table=torch.zeros((1, blocks), dtype=torch.int32, device=device) if blocks else None,
                blocked={
                    window: torch.ones(shape, dtype=torch.bool, device=device)
                    for window in dict.fromkeys(windows)
                },
            )

    def fits(self, tree: Tensorized, width: int) -> bool:
        """Return whether a step has as many rows, and its mask no more columns."""
        mask = next(iter(self.blocked.values()))
        return len(tree.token_ids) == len(self.token_ids) and width <= mask.shape[-1]

    def by_name(self) -> dict[str, Tensor]:
        """Return the buffers as `DecodePath.static_inputs` names them."""
        named = {
            "token_ids": self.token_ids,
            "position_ids": self.position_ids,
            "slots": self.slots,
            "block_table": self.block_table,
            **{f"blocked_w{window}" if window else "blocked": mask for window, mask in self.blocked.items()},
        }
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def refresh(inputs: StepInputs, tree: Tensorized, blocked: Mapping[int, Tensor], pages: Pages | None) -> None:
    """Fill in a step; columns and blocks behind what it has are left out, and point to block 0.

    Args:
        inputs: The buffers.
        tree: Its rows, N of them.
        blocked: Masks by window, as wide as the cache has rows.
        pages: How the cache is reached, if it is paged.
    """
    inputs.token_ids.copy_(torch.from_numpy(tree.token_ids))
    inputs.position_ids.copy_(torch.from_numpy(tree.position_ids))
    for window, mask in blocked.items():
        buffer = inputs.blocked[window]
        buffer[..., : mask.shape[-1]] = mask
        buffer[..., mask.shape[-1] :] = True
    if inputs.slots is not None and inputs.block_table is not None and tree.slots is not None:
        assert pages is not None, "a tree with slots has a paged cache"
        inputs.slots.copy_(torch.from_numpy(tree.slots))
        inputs.block_table[:, : pages.block_table.shape[1]] = pages.block_table
        inputs.block_table[:, pages.block_table.shape[1] :] = 0
