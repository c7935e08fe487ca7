"""Follows an engine launch by launch, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from invariants.context import RunContext
from invariants.launches.blocks import Blocks, Content
from invariants.launches.lives import KnownTokens, Life
from invariants.launches.rows import LaunchRow, Memory
from invariants.launches.view import LaunchView, Place, RowInLaunch
from invariants.rule import IntArray

MAX_LIVES: Final = 4096
"""Requests that are remembered; the ones longest without a launch are forgotten first."""
MAX_CHAINS: Final = 1 << 20
"""Hashes of full blocks that are remembered."""
Key = tuple[Memory, str]


@dataclass(slots=True)
class Follower:
    """What is known of an engine between two launches.

    Attributes:
        context: Facts of the run.
        lives: The last life of each request, by memory and request, the last launched last.
        blocks: By memory and group.
        names: Request and last place of lives, by number.
        chains: Hashes of full blocks, in the order in which they were made.
        first_launch: The first number that was seen.
        is_spread: Context parallelism spreads the tokens of requests over ranks, as stated or as rows say.
    """

    context: RunContext
    lives: dict[Key, Life] = field(default_factory=dict)
    blocks: dict[Place, Blocks] = field(default_factory=dict)
    names: dict[int, tuple[str, tuple[int, int, int]]] = field(default_factory=dict)
    chains: dict[int, None] = field(default_factory=dict)
    first_launch: int | None = None
    is_spread: bool = False
    _num_lives: int = 0

    @property
    def groups(self) -> tuple[Any, ...]:
        """KV groups of the engine; empty where not stated."""
        return () if self.context.model_facts is None else self.context.model_facts.kv_groups

    @property
    def sizes(self) -> tuple[int, ...]:
        """Tokens per block of each group, 0 where not known."""
        return tuple(each.manager_block_size for each in self.groups) or (self.context.block_size or 0,)

    def launch(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[LaunchView]:
        """Yield the view of a launch; when the caller goes on, the launch has happened.

        Args:
            rows: All rows of one number, or one row without a number.
        """
        parsed = [LaunchRow.of(row, self.groups) for row in rows if row.get("row_kind") != "preempted"]
        number = parsed[0].launch if parsed else None
        if number is not None and self.first_launch is None:
            self.first_launch = number
        stated = any(each.cp_size > 1 or each.cp_interleave > 1 for each in self.groups)
        self.is_spread |= stated or any(each.number("cp_rank") for each in parsed)
        padding = [each for each in parsed if each.is_padding]
        mine = sorted((each for each in parsed if not each.is_padding), key=_by_request)
        view = LaunchView(
            number=number,
            rows=[self._enter(each) for each in mine],
            padding=padding,
            blocks=self.blocks,
            sizes=self.sizes,
            model_facts=self.context.model_facts,
            names=self.names,
            from_start=self.first_launch is not None and self.first_launch <= 1,
            seen_chains=self.chains,
            is_spread=self.is_spread,
        )
        for each in view.rows:
            self._write(view, each)
        for each in view.rows:
            self._make(view, each)
            _expect(view, each)
        yield view
        for each in view.rows:
            tokens = each.life.tokens
            each.life.pending = [
                one for one in each.life.pending if tokens.chain(one[1], self.sizes[one[0]]) is None
            ]
            each.life.after(each.row, -1 if number is None else number)
            self.names[each.life.number] = each.life.request, each.life.last_place
        self._settle(view)
        self._bound()

    def _enter(self, row: LaunchRow) -> RowInLaunch:
        """Return a row with its life, begun anew at admission and resume."""
        key = row.memory, row.request
        life = self.lives.pop(key, None)
        cached = row.number("num_cached")
        again = cached is not None and row.number("request_epoch") is None and life and not life.is_new
        if life is None or life.epoch != row.epoch or again:
            tokens = KnownTokens() if life is None else life.tokens
            whole = cached is not None or row.start == 0
            empty: list[IntArray] = [np.zeros(0, dtype=np.int64)] * max(len(self.groups), 1)
            life = Life(self._num_lives, row.request, row.epoch, empty if whole else None, tokens)
            life.cached, life.end = cached, cached
            life.filled = [0] * len(empty)
            self._num_lives += 1
        self.lives[key] = life
        life.append(row)
        return RowInLaunch(row, life, _take_tokens(life.tokens, row))

    def _write(self, view: LaunchView, each: RowInLaunch) -> None:
        """Note into which blocks a row writes, and which ones were copied for it."""
        row = each.row
        slots = row.slots
        for group, written in view.groups_of(slots if slots is not None else np.zeros((0, 0), np.int64)):
            if group < len(view.sizes) and view.sizes[group]:
                for block in np.unique(written // view.sizes[group]).tolist():
                    if block != view.null_block(group):
                        view.written.setdefault((row.memory, group, block), {})[each.life.number] = each
        copies = row.array("block_copies")
        if copies is not None and copies.size % 3 == 0:
            for group, _, target in copies.reshape(-1, 3).tolist():
                view.copied.setdefault((row.memory, group), set()).add(target)

    def _make(self, view: LaunchView, each: RowInLaunch) -> None:
        """Note which blocks a row's request has filled once the launch is done: its known tokens only."""
        row, life = each.row, each.life
        if row.start is None or row.positions is None or not len(row.positions):
            return
        sure = {None: 1, "withdrawn": 0}.get(row.kind, len(row.positions))
        written = int(row.positions.max()) + 1
        for group, size in enumerate(view.sizes):
            blocks = each.blocks_of(group)
            for logical in range(row.start // size, min(-(-written // size), len(blocks))) if size else ():
                is_full = (logical + 1) * size <= row.start + sure
                chain = life.tokens.chain(logical, size) if is_full else None
                if chain is not None or not is_full:
                    following = life.tokens.at((logical + 1) * size)
                    made = Content(chain, following, life.number)
                    view.made[(row.memory, group, int(blocks[logical]))] = made

    def _settle(self, view: LaunchView) -> None:
        """Bring the blocks to what they are after the launch."""
        for (memory, group, block), writers in view.written.items():
            blocks = self.blocks.setdefault((memory, group), Blocks())
            life = next(reversed(writers))
            if block in view.copied.get((memory, group), ()):
                blocks.contents.pop(block, None)
            else:
                blocks.write(np.array([block]), life, -1 if view.number is None else view.number)
        for each in view.rows:
            self._fill(view, each)

    def _fill(self, view: LaunchView, each: RowInLaunch) -> None:
        """Note what the blocks of a request hold, as far as its rows are committed."""
        life, memory = each.life, each.row.memory
        for group, size in enumerate(view.sizes):
            table, blocks = each.blocks_of(group), self.blocks.get((memory, group))
            if blocks is None or not size or not len(table):
                continue
            if not life.filled[group]:
                life.filled[group] = (life.cached or 0) // size
            while life.end is not None and (life.filled[group] + 1) * size <= life.end:
                logical = life.filled[group]
                if logical >= len(table):
                    break
                chain, block = life.tokens.chain(logical, size), int(table[logical])
                if chain is None:
                    break
                if view.last_writer((memory, group), block) == life.number:
                    following = life.tokens.at((logical + 1) * size)
                    blocks.contents[block] = Content(chain, following, life.number)
                    self.chains[chain] = None
                life.filled[group] += 1
            logical = life.filled[group]
            if logical >= len(table) or life.end is None or life.end >= (logical + 1) * size:
                continue  # full of tokens that are not known, or how full is not known
            if view.last_writer((memory, group), int(table[logical])) == life.number:
                blocks.contents[int(table[logical])] = Content(None, None, life.number)

    def _bound(self) -> None:
        while len(self.lives) > MAX_LIVES:
            life = self.lives.pop(next(iter(self.lives)))
            self.names.pop(life.number, None)
        while len(self.names) > 4 * MAX_LIVES:
            self.names.pop(next(iter(self.names)))
        while len(self.chains) > MAX_CHAINS:
            self.chains.pop(next(iter(self.chains)))


def _expect(view: LaunchView, each: RowInLaunch) -> None:
    """Note what hit blocks of a new life hold; those that are written in this launch are REQ002's."""
    life, memory = each.life, each.row.memory
    for group, size in enumerate(view.sizes) if life.is_new and not life.pending else ():
        blocks = each.blocks_of(group)
        for logical in range(min((life.cached or 0) // size, len(blocks))) if size else ():
            block = int(blocks[logical])
            held = view.held((memory, group), block)
            if held is not None and (memory, group, block) not in view.written:
                life.pending.append((group, logical, block, held))


def _by_request(row: LaunchRow) -> tuple[str, int]:
    return row.request, -1 if row.start is None else row.start


def _take_tokens(tokens: KnownTokens, row: LaunchRow) -> int | None:
    """Take over what a row says of its request's tokens; return where it contradicts what is known."""
    context = row.array("context_token_ids")
    wrong = None if context is None else tokens.put(0, context.tolist())
    if row.start is None or row.tokens is None or row.kind == "withdrawn" or not len(row.tokens):
        return wrong
    fed = row.tokens.tolist()
    if row.kind is not None:
        differs = tokens.put(row.start, fed)
        return wrong if differs is None else differs
    differs = tokens.put(row.start, fed[:1])
    path, final = row.array("accepted_nodes"), row.number("final_token_id")
    if path is not None and final is not None and all(0 <= node < len(fed) for node in path.tolist()):
        tokens.cut(row.start + 1)
        tokens.put(row.start + 1, [*(fed[node] for node in path.tolist()), final])
    return wrong if differs is None else differs
