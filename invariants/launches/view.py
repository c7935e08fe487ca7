"""One launch as the rules across requests see it: its rows, what they write, and the blocks before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from invariants.launches.blocks import NOBODY, Blocks, Content
from invariants.launches.lives import Life
from invariants.launches.rows import LaunchRow, Memory
from invariants.rule import IntArray, NotApplicableError
from tracing.run_facts import KvGroup, ModelFacts

Place = tuple[Memory, int]
"""Memory and number of a KV group."""


class UnknownError(Exception):
    """A rule needs a fact that is not known; the argument names it."""


@dataclass(frozen=True, slots=True)
class RowInLaunch:
    """A row with the life of its request.

    Attributes:
        row: What was recorded.
        life: As it was before the launch, the blocks that the row appends included.
        mistaken: First position at which the row's tokens are not those known of the request, or None.
    """

    row: LaunchRow
    life: Life
    mistaken: int | None = None

    def blocks_of(self, group: int) -> IntArray:
        """Return the request's blocks by logical number; empty where they are not known."""
        tables = self.life.tables
        return tables[group] if tables is not None and group < len(tables) else np.zeros(0, dtype=np.int64)


@dataclass(slots=True)
class LaunchView:
    """One launch.

    Attributes:
        number: Of the launch; None for a row that belongs to none.
        rows: Its rows, in the order of the trace; those of a request by position.
        padding: Rows that belong to no request.
        blocks: What was known before the launch, by memory and group.
        sizes: Tokens per manager's block of each group, 0 where not known.
        written: Lives that write into a block in this launch, by memory, group and block.
        copied: Blocks that were made by copying before it, by memory and group.
        made: Contents of blocks that are full after this launch, by memory, group and block.
        model_facts: Of the run.
        names: Request and last place of the lives that are remembered, by number.
        from_start: No launch before the first one that was seen.
        seen_chains: Hashes of all full blocks so far.
        is_spread: Context parallelism spreads the tokens of requests over ranks.
    """

    number: int | None
    rows: list[RowInLaunch]
    padding: list[LaunchRow]
    blocks: dict[Place, Blocks]
    sizes: tuple[int, ...]
    model_facts: ModelFacts | None
    names: dict[int, tuple[str, tuple[int, int, int]]]
    from_start: bool = False
    written: dict[tuple[Memory, int, int], dict[int, RowInLaunch]] = field(default_factory=dict)
    copied: dict[Place, set[int]] = field(default_factory=dict)
    made: dict[tuple[Memory, int, int], Content] = field(default_factory=dict)
    seen_chains: Any = ()
    is_spread: bool = False

    def having(self, *columns: str) -> list[RowInLaunch]:
        """Return the rows that have all columns."""
        return [each for each in self.rows if all(each.row.row.get(name) is not None for name in columns)]

    def size(self, group: int) -> int:
        """Return tokens per block of a group.

        Raises:
            UnknownError: They are not known.
        """
        if group >= len(self.sizes) or not self.sizes[group]:
            raise UnknownError("block_size")
        return self.sizes[group]

    def group(self, number: int) -> KvGroup | None:
        """Return what the manifest says of a group, or None."""
        groups = () if self.model_facts is None else self.model_facts.kv_groups
        return groups[number] if number < len(groups) else None

    def null_block(self, group: int) -> int | None:
        """Return the block that holds nothing, or None."""
        facts = self.group(group)
        return None if facts is None else facts.null_block

    def groups_of(self, slots: IntArray) -> Iterator[tuple[int, IntArray]]:
        """Yield number and slots of each group, those left out that are not written."""
        for group, each in enumerate(slots):
            yield group, each[each >= 0]

    def require_whole(self) -> None:
        """Leave launches alone in which blocks, slots and lengths go by another rule than by position.

        Raises:
            NotApplicableError: Context parallelism spreads a request's tokens over ranks.
        """
        if self.is_spread:
            raise NotApplicableError("a request's tokens are spread over ranks")

    def span(self, each: RowInLaunch, group: int) -> tuple[int, int]:
        """Return the logical blocks, half open, of which a row may read keys: its length and its window."""
        size, row = self.size(group), each.row
        facts, low = self.group(group), 0
        if facts is not None and facts.window:
            if row.start is None:
                return 0, 0  # where its window begins is not known
            first = row.start
            chunked = facts.kind == "chunked"
            low = first - first % facts.window if chunked else first - facts.window + 1
        return max(low, 0) // size, -(-self.length(each) // size)

    def length(self, each: RowInLaunch) -> int:
        """Return how many rows of its request a row may attend to: as the kernel got it, else its own end."""
        stated, positions = each.row.number("kv_len"), each.row.positions
        if stated is not None:
            return stated
        return 0 if positions is None or not len(positions) else int(positions.max()) + 1

    def named(self, life: int) -> str:
        """Return the request and last place of a life, for a message."""
        if life not in self.names:
            return "a request that is no longer remembered"
        request, place = self.names[life]
        return f"request {request} at {':'.join(map(str, place))}"

    def last_writer(self, place: Place, block: int) -> int:
        """Return the life that wrote last into a block before this launch, or `NOBODY`."""
        blocks = self.blocks.get(place)
        return NOBODY if blocks is None or block >= len(blocks.writer) else int(blocks.writer[block])

    def held(self, place: Place, block: int) -> Content | None:
        """Return what a block held before this launch, or None where that is not known."""
        blocks = self.blocks.get(place)
        return None if blocks is None else blocks.contents.get(block)


EAGLE_WORDS: Final = ("eagle", "mtp")
"""Beginnings of proposers whose drafter's row of a token is made with the token after it."""
