"""A toy paged engine: lawful launches of a batch, with everything that real ones do, and mistakes on request.

Two KV groups (full attention and a sliding window) over one pool of blocks, chunked prefill, prefix cache
with the EAGLE drop, copy on write of partial hits, preemption, asynchronous finish, drafts past a limit.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from invariants.context import RunContext
from tracing.run_facts import KvGroup, ModelFacts

SIZE, NUM_DRAFTS, LIMIT, WINDOW = 4, 3, 40, 10
Row = dict[str, Any]
GROUPS = tuple(
    KvGroup(
        layers=(layer,),
        kind="sliding_window" if layer else "full",
        window=WINDOW if layer else 0,
        manager_block_size=SIZE,
        kernel_block_size=SIZE // 2,
        null_block=0,
    )
    for layer in range(2)
)
CONTEXT = RunContext(block_size=SIZE, model_facts=ModelFacts(kv_groups=GROUPS))


@dataclass
class Request:
    """A request; `told` are the blocks that its rows have appended so far, by group."""

    name: str
    prompt_id: int
    tokens: list[int]
    end: int
    num_prompt: int
    epoch: int = 0
    computed: int = 0
    step: int = 0
    is_zombie: bool = False
    begins: bool = True
    cached: int = 0
    tables: list[list[int]] = field(default_factory=lambda: [[], []])
    told: list[int] = field(default_factory=lambda: [0, 0])
    copies: list[int] = field(default_factory=list)


class ToyEngine:
    """Makes launches; `mistake` is one of the words that its methods ask for."""

    def __init__(
        self, seed: int, *, num_blocks: int = 40, asynchronous: bool = False, mistake: str = ""
    ) -> None:
        self.random, self.asynchronous, self.mistake = random.Random(seed), asynchronous, mistake
        self.free: OrderedDict[int, None] = OrderedDict((block, None) for block in range(1, num_blocks))
        self.held: dict[int, int] = {}
        self.cache: dict[tuple[int, tuple[int, ...]], int] = {}
        self.key_of: dict[int, tuple[int, tuple[int, ...]]] = {}
        self.running: list[Request] = []
        self.waiting: list[Request] = []
        self.number = self.made = 0
        self.seen = dict.fromkeys(
            ("hit", "same_step", "preempted", "recompute", "withdrawn", "copy", "chunk", "window", "limit"), 0
        )
        self.fresh: set[int] = set()

    def launches(self, count: int) -> list[list[Row]]:
        """Return the rows of so many launches."""
        return [rows for _ in range(count) if (rows := self._launch())]

    def _take(self) -> int | None:
        if not self.free:
            return None
        block, _ = self.free.popitem(last=False)
        key = self.key_of.pop(block, None)
        if key is not None and self.cache.get(key) == block:
            del self.cache[key]
        self.held[block] = 1
        return block

    def _drop(self, block: int) -> None:
        if not block:
            return
        self.held[block] -= 1
        if not self.held[block]:
            self.free[block] = None

    def _grow(self, request: Request, length: int) -> bool:
        for table in request.tables:
            while len(table) * SIZE < length:
                block = self._take()
                if block is None:
                    return False
                table.append(block)
        return True

    def _release(self, request: Request) -> None:
        for table in request.tables:
            for block in reversed(table):
                self._drop(block)
        request.tables, request.told = [[], []], [0, 0]

    def _slide(self, request: Request) -> None:
        table = request.tables[1]
        for logical in range(max(request.computed - WINDOW + 1, 0) // SIZE):
            if logical < len(table) and table[logical]:
                self.seen["window"] += 1
                self._drop(table[logical])
                table[logical] = 0

    def _remember(self, request: Request, length: int) -> None:
        for group, table in enumerate(request.tables):
            for logical in range(min(length, len(request.tokens)) // SIZE):
                key = (group, tuple(request.tokens[: (logical + 1) * SIZE]))
                block = table[logical]
                if block and key not in self.cache and block not in self.key_of:
                    self.cache[key], self.key_of[block] = block, key
                    self.fresh.add(block)

    def _match(self, request: Request) -> None:
        tokens, matched = request.tokens, 0
        if self.mistake == "hit-beyond":
            self.cache |= {
                (g, (*tokens[: len(k) - 1], tokens[len(k) - 1])): b
                for (g, k), b in self.cache.items()
                if len(k) <= len(tokens) and k[:SIZE] == tuple(tokens[:SIZE])
            }
        while (matched + 1) * SIZE < len(tokens) and all(
            (group, tuple(tokens[: (matched + 1) * SIZE])) in self.cache for group in range(2)
        ):
            matched += 1
        if self.mistake != "drop-skipped":
            matched = max(matched - 1, 0)
        for group, table in enumerate(request.tables):
            for logical in range(matched):
                block = self.cache[(group, tuple(tokens[: (logical + 1) * SIZE]))]
                self.held[block] = self.held.get(block, 0) + 1 if block not in self.free else 1
                self.free.pop(block, None)
                table.append(block)
                self.seen["hit"] += 1
                self.seen["same_step"] += block in self.fresh
        request.computed = matched * SIZE
        if matched and self.random.random() < 0.3 and len(tokens) > (matched + 1) * SIZE:
            self._copy(request, matched)
        request.cached = request.computed

    def _copy(self, request: Request, logical: int) -> None:
        """Find half a block more in the cache and copy it into a block of the request's own."""
        half = tuple(request.tokens[: logical * SIZE + SIZE // 2])
        for group in range(2):
            source = next(
                (
                    b
                    for (g, k), b in self.cache.items()
                    if g == group
                    and len(k) == len(half) + SIZE // 2
                    and k[: len(half)] == half
                    and b not in self.fresh
                ),
                None,
            )
            block = None if source is None else self._take()
            if block is None or source is None:
                return
            request.tables[group].append(block)
            request.copies += [group, source, block]
        self.seen["copy"] += 1
        request.computed += SIZE // 2

    def _admit(self) -> None:
        if self.random.random() < 0.4 and len(self.waiting) + len(self.running) < 8:
            for _ in range(self.random.choice((1, 1, 2))):
                stem = [7, 7, 7, 7, 7, 7, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17][
                    : self.random.randrange(5, 19)
                ]
                tail = [self.random.randrange(50, 60) for _ in range(self.random.choice((0, 0, 3, 9)))]
                size = self.random.choice((12, 20, LIMIT))
                new = Request(
                    f"r{self.made}", self.made, stem + tail, len(stem + tail) + size, len(stem + tail)
                )
                self.waiting.append(new)
                self.made += 1
        while self.waiting and len(self.running) < 4 and len(self.free) > 6:
            request = self.waiting.pop(0)
            self._match(request)
            request.begins = True
            self.running.append(request)

    def _preempt(self, rows: list[Row]) -> None:
        request = self.running.pop()
        rows.append(self._row(request, "preempted", request.computed, 0, slots=False))
        self._release(request)
        request.computed, request.begins = 0, True
        request.epoch += 1
        self.seen["preempted"] += 1
        self.waiting.insert(0, request)

    def _launch(self) -> list[Row]:
        self.number += 1
        self.fresh = set()
        rows: list[Row] = []
        zombies = [each for each in self.running if each.is_zombie]
        budget = 14
        for request in list(self.running):
            if request not in self.running:
                continue
            needed = 1 if request.is_zombie else len(request.tokens) - request.computed
            size = min(needed + (NUM_DRAFTS if needed == 1 else 0), budget)
            if size <= 0:
                continue
            while not self._grow(request, request.computed + size + 1) and self.running[-1] is not request:
                self._preempt(rows)
            if len(request.tables[1]) * SIZE < request.computed + size:
                continue
            budget -= size
            self._run(request, size, needed, rows)
        before = list(self.running)
        self._admit()
        for request in [each for each in self.running if each not in before]:
            size = min(len(request.tokens) - request.computed, budget)
            if size <= 0 or not self._grow(request, request.computed + size):
                continue
            budget -= size
            self._run(request, size, len(request.tokens) - request.computed, rows)
        if not self.asynchronous:
            zombies = [each for each in self.running if each.is_zombie]
        for request in zombies:
            self.running.remove(request)
            self._release(request)
        for request in self.running:
            self._slide(request)
        return rows

    def _run(self, request: Request, size: int, needed: int, rows: list[Row]) -> None:
        start, again = request.computed, len(request.tokens) > request.num_prompt
        if request.is_zombie:
            self.seen["withdrawn"] += 1
            rows.append(self._row(request, "withdrawn", start, size))
            return
        if needed == 1:
            self._step(request, start, size, rows)
            return
        last_is_step = again and size == needed
        chunk = size - last_is_step
        self.seen["recompute" if again else "chunk"] += 1
        if self.mistake == "resume-elsewhere" and request.begins and again and needed > SIZE:
            start += 1
            chunk -= 1
        rows.append(self._row(request, "recompute" if again else "prefill_chunk", start, chunk))
        request.computed = start + chunk
        self._remember(request, request.computed)
        if last_is_step:
            self._step(request, request.computed, 1, rows)
        elif request.computed == len(request.tokens):
            request.tokens.append(self._next(request.tokens))

    def _next(self, tokens: list[int]) -> int:
        return 100 + hash(tuple(tokens[-5:])) % 40

    def _step(self, request: Request, start: int, size: int, rows: list[Row]) -> None:
        self._remember(request, start + 1)
        room = request.end - len(request.tokens)
        accepted = min(self.random.randrange(size), max(room - 1, 0))
        drafts = list(request.tokens)
        for node in range(1, size):
            wanted = self._next(drafts)
            drafts.append(wanted if node <= accepted else wanted + 1000)
        row = self._row(request, None, start, size, fed=drafts[start : start + size])
        kept = drafts[: start + 1 + accepted]
        final = self._next(kept)
        request.tokens = [*kept, final]
        row |= {
            "accepted_nodes": np.arange(1, accepted + 1),
            "final_token_id": final,
            "committed_len_after": start + accepted + 1,
        }
        request.computed, request.step = start + accepted + 1, request.step + 1
        rows.append(row)
        if len(request.tokens) >= request.end:
            row["stop_reason"] = "length"
            request.is_zombie = True

    def _row(
        self,
        request: Request,
        kind: str | None,
        start: int,
        size: int,
        *,
        slots: bool = True,
        fed: Any = None,
    ) -> Row:
        appended = [table[told:] for table, told in zip(request.tables, request.told, strict=True)]
        request.told = [len(table) for table in request.tables]
        most = max(map(len, appended), default=0)
        positions = np.arange(start, start + size)
        row: Row = {
            "prompt_id": request.prompt_id,
            "turn": 0,
            "step": request.step,
            "row_kind": kind,
            "dp_rank": 0,
            "launch": self.number,
            "request_id": request.name,
            "request_epoch": request.epoch,
            "committed_len": start,
            "query_len": size,
            "proposer": "eagle3",
        }
        if not slots:
            return row
        over = positions >= request.end + 1
        self.seen["limit"] += int(over.any())
        places = [
            np.array([t[p // SIZE] for p in positions]) * SIZE + positions % SIZE for t in request.tables
        ]
        every = np.where(over, -1, np.stack(places))
        if fed is None:
            fed = [*request.tokens, 99, 99][start : start + size]
        row |= {
            "token_ids": np.array(fed),
            "valid": np.ones(size, bool),
            "cache_positions": positions,
            "kv_len": start + size,
            "kv_len_host": start + size,
            "slots": every[0],
            "group_slots": every,
            "block_ids": np.array([each + [-1] * (most - len(each)) for each in appended]).reshape(-1),
            "table_block_ids": self._kernel_table(request, start + size),
            "num_tokens_padded": 16,
        }
        if request.begins:
            row |= {"num_cached": request.cached, "context_token_ids": np.array(request.tokens)}
            request.begins = False
        if request.copies:
            row["block_copies"] = np.array(request.copies)
            request.copies = []
        return row

    def _kernel_table(self, request: Request, length: int) -> Any:
        """The worker's table in blocks of the kernel; what it frees stays, and lookahead is cut."""
        tables = [
            [2 * block + half for block in table for half in range(2)][: -(-length // (SIZE // 2))]
            for table in request.tables
        ]
        return np.array(tables).reshape(-1)
