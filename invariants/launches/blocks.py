"""Blocks of one cache of one KV group: who wrote last into each, and which tokens a full one holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from invariants.rule import IntArray

MAX_BLOCKS: Final = 1 << 22
"""Blocks that are followed; one of a higher number is not judged."""
NOBODY: Final = -1


@dataclass(frozen=True, slots=True)
class Content:
    """What a block holds.

    Attributes:
        chain: Hash of all tokens up to the block's end, so of its prefix too; None for a block that is not
            full.
        following: Token after the block in the request that wrote it, or None where not known.
        owner: Number of the life that wrote it.
    """

    chain: int | None
    following: int | None
    owner: int


@dataclass(slots=True)
class Blocks:
    """All blocks of one group in one memory.

    Attributes:
        writer: Number of the life that wrote last into each block, or `NOBODY`, `[blocks]`.
        launch: In which launch it did, `[blocks]`.
        contents: Of the blocks whose tokens are known.
    """

    writer: IntArray = field(default_factory=lambda: np.full(64, NOBODY, dtype=np.int64))
    launch: IntArray = field(default_factory=lambda: np.full(64, -1, dtype=np.int64))
    contents: dict[int, Content] = field(default_factory=dict)

    def known(self, blocks: IntArray) -> IntArray:
        """Return the blocks that are followed, room made for them."""
        kept = blocks[(blocks >= 0) & (blocks < MAX_BLOCKS)]
        needed = int(kept.max()) + 1 if kept.size else 0
        if needed > len(self.writer):
            more = max(needed, 2 * len(self.writer)) - len(self.writer)
            self.writer = np.concatenate([self.writer, np.full(more, NOBODY, dtype=np.int64)])
            self.launch = np.concatenate([self.launch, np.full(more, -1, dtype=np.int64)])
        return kept

    def since(self, blocks: IntArray, life: int, launch: int) -> dict[int, tuple[int, int]]:
        """Return writer and launch of those blocks that another life wrote into after a launch."""
        blocks = self.known(blocks)
        late = (self.launch[blocks] > launch) & (self.writer[blocks] != life)
        return {block: (int(self.writer[block]), int(self.launch[block])) for block in blocks[late].tolist()}

    def write(self, blocks: IntArray, life: int, launch: int) -> None:
        """Note that a life wrote into blocks; what they held is gone."""
        blocks = self.known(blocks)
        self.writer[blocks] = life
        self.launch[blocks] = launch
        for block in blocks.tolist():
            self.contents.pop(block, None)
