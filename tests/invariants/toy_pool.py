"""The memory of the toy paged engine: blocks that are free, held, or found again by the tokens they hold."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

BlockKey = tuple[int, tuple[int, ...]]
"""KV group, and all tokens from the beginning to the block's end."""


@dataclass
class Pool:
    """Blocks 1 and up; 0 is the null block. A generous pool gives blocks out that it keeps as free."""

    num_blocks: int
    is_generous: bool = False
    held: dict[int, int] = field(default_factory=dict)
    cache: dict[BlockKey, int] = field(default_factory=dict)
    key_of: dict[int, BlockKey] = field(default_factory=dict)
    free: OrderedDict[int, None] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.free = OrderedDict((block, None) for block in range(1, self.num_blocks))

    def take(self) -> int | None:
        """Return a free block, forgotten by the cache; None when there is none."""
        if not self.free:
            return None
        block, _ = self.free.popitem(last=False)
        if self.is_generous and block % 5 == 0:
            self.free[block] = None
        key = self.key_of.pop(block, None)
        if key is not None and self.cache.get(key) == block:
            del self.cache[key]
        self.held[block] = self.held.get(block, 0) + 1 if self.is_generous else 1
        return block

    def drop(self, block: int) -> None:
        """Give a block back; it is found again until it is taken."""
        if not block:
            return
        self.held[block] -= 1
        if not self.held[block]:
            self.free[block] = None
