"""A request between admission and end or preemption: its blocks, its tokens, how far its cache goes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from invariants.launches.blocks import Content
from invariants.launches.rows import LaunchRow
from invariants.rule import IntArray


@dataclass(slots=True)
class KnownTokens:
    """Tokens of a request by position, and hashes of its full blocks.

    Attributes:
        known: From position 0 on.
        chains: By tokens per block: the hash of all tokens up to the end of each full block.
    """

    known: list[int] = field(default_factory=list)
    chains: dict[int, list[int]] = field(default_factory=dict)

    def put(self, start: int, tokens: list[int]) -> int | None:
        """Take tokens over from a position on; return the first position that held another one, or None.

        Tokens after a position that is not known are left out.
        """
        if start > len(self.known):
            return None
        there = self.known[start : start + len(tokens)]
        differs = next(
            (i for i, (old, new) in enumerate(zip(there, tokens, strict=False)) if old != new), None
        )
        if differs is not None:
            self.cut(start + differs)
        self.known += tokens[len(self.known) - start :]
        return None if differs is None else start + differs

    def cut(self, length: int) -> None:
        """Forget the tokens from a position on."""
        del self.known[length:]
        for size, chain in self.chains.items():
            del chain[length // size :]

    def chain(self, block: int, size: int) -> int | None:
        """Return the hash of all tokens up to the end of a logical block, or None where one is not known."""
        made = self.chains.setdefault(size, [])
        while len(made) <= block and (len(made) + 1) * size <= len(self.known):
            before = made[-1] if made else 0
            made.append(hash((before, *self.known[len(made) * size : (len(made) + 1) * size])))
        return made[block] if block < len(made) else None

    def at(self, position: int) -> int | None:
        """Return the token at a position, or None where it is not known."""
        return self.known[position] if position < len(self.known) else None


@dataclass(slots=True)
class Life:
    """One life of a request: from admission or resume to its end or preemption.

    Attributes:
        number: Of the life, in the order in which they began.
        request: The engine's name.
        epoch: Preemptions before.
        tables: Blocks by logical number, an array a group; None where the life's beginning was not seen.
        tokens: Of the request, kept over its lives.
        is_new: It begins with the row at hand.
        cached: Tokens found in the cache at its beginning, or None.
        end: Rows that its cache holds before the row at hand, or None where not known.
        used: Rows that were written or read so far.
        last_launch: Of the row before, or -1.
        last_place: Of the row before.
        filled: By group: logical blocks whose content is noted.
        pending: Hit blocks that wait for the request's tokens: group, logical block, block, what it held.
    """

    number: int
    request: str
    epoch: int
    tables: list[IntArray] | None
    tokens: KnownTokens
    is_new: bool = True
    cached: int | None = None
    end: int | None = None
    used: int = 0
    last_launch: int = -1
    last_place: tuple[int, int, int] = (0, 0, 0)
    filled: list[int] = field(default_factory=list)
    pending: list[tuple[int, int, int, Content]] = field(default_factory=list)

    def append(self, row: LaunchRow) -> None:
        """Add the blocks that a row appends."""
        more = row.by_group("block_ids")
        if more is None or self.tables is None or len(more) != len(self.tables):
            return
        self.tables = [np.concatenate(pair) for pair in zip(self.tables, more, strict=True)]

    def after(self, row: LaunchRow, launch: int) -> None:
        """Note what a row leaves behind."""
        size = 0 if row.positions is None else len(row.positions)
        if row.kind == "withdrawn":
            pass  # what it computed is thrown away
        elif row.kind is None:
            self.end = row.number("committed_len_after")
        else:
            self.end = None if row.start is None or row.positions is None else row.start + size
        reach = row.number("kv_len") or 0
        if row.positions is not None and size:
            reach = max(reach, int(row.positions.max()) + 1)
        self.used = max(self.used, reach)
        self.last_launch, self.last_place, self.is_new = launch, row.place, False
