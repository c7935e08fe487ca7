"""A toy paged engine: lawful launches of a batch, with everything that real ones do, and mistakes on request.

Two KV groups (full attention and a sliding window) over one pool of blocks, chunked prefill, prefix cache
with the EAGLE drop, copy on write of partial hits, preemption, asynchronous finish, drafts past a limit.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from tests.invariants.toy_pool import Pool
from tests.invariants.toy_rows import LIMIT, NUM_DRAFTS, SIZE, WINDOW, Request, Row, padding_row, row_of


class ToyEngine:
    """Makes launches; `mistake` is one of the words that its methods ask for."""

    def __init__(
        self,
        seed: int,
        *,
        num_blocks: int = 40,
        asynchronous: bool = False,
        mistake: str = "",
        size: int = SIZE,
    ) -> None:
        self.random, self.asynchronous, self.mistake = random.Random(seed), asynchronous, mistake
        self.size, self.scale = size, max(size // SIZE, 1)
        self.pool = Pool(num_blocks, is_generous=mistake == "given-twice")
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

    def _grow(self, request: Request, length: int) -> bool:
        for table in request.tables:
            while len(table) * self.size < length:
                block = self.pool.take()
                if block is None:
                    return False
                table.append(block)
        return True

    def _release(self, request: Request) -> None:
        for table in request.tables:
            for block in reversed(table):
                self.pool.drop(block)
        request.tables, request.told = [[], []], [0, 0]

    def _slide(self, request: Request) -> None:
        table = request.tables[1]
        for logical in range(max(request.computed - WINDOW + 1, 0) // self.size):
            if logical < len(table) and table[logical]:
                self.seen["window"] += 1
                self.pool.drop(table[logical])
                table[logical] = 0

    def _remember(self, request: Request, length: int) -> None:
        for group, table in enumerate(request.tables):
            for logical in range(min(length, len(request.tokens)) // self.size):
                key = (group, tuple(request.tokens[: (logical + 1) * self.size]))
                block = table[logical]
                if block and key not in self.pool.cache and block not in self.pool.key_of:
                    self.pool.cache[key], self.pool.key_of[block] = block, key
                    self.fresh.add(block)

    def _match(self, request: Request) -> None:
        tokens, matched = request.tokens, 0
        if self.mistake == "hit-beyond":
            self.pool.cache |= {
                (g, (*tokens[: len(k) - 1], tokens[len(k) - 1])): b
                for (g, k), b in self.pool.cache.items()
                if len(k) <= len(tokens) and k[: self.size] == tuple(tokens[: self.size])
            }
        while (matched + 1) * self.size < len(tokens) and all(
            (group, tuple(tokens[: (matched + 1) * self.size])) in self.pool.cache for group in range(2)
        ):
            matched += 1
        if self.mistake != "drop-skipped":
            matched = max(matched - 1, 0)
        for group, table in enumerate(request.tables):
            for logical in range(matched):
                block = self.pool.cache[(group, tuple(tokens[: (logical + 1) * self.size]))]
                self.pool.held[block] = self.pool.held.get(block, 0) + 1 if block not in self.pool.free else 1
                self.pool.free.pop(block, None)
                table.append(block)
                self.seen["hit"] += 1
                self.seen["same_step"] += block in self.fresh
        request.computed = matched * self.size
        if matched and self.random.random() < 0.3 and len(tokens) > (matched + 1) * self.size:
            self._copy(request, matched)
        request.cached = request.computed

    def _copy(self, request: Request, logical: int) -> None:
        """Find half a block more in the cache and copy it into a block of the request's own."""
        half = tuple(request.tokens[: logical * self.size + self.size // 2])
        for group in range(2):
            source = next(
                (
                    b
                    for (g, k), b in self.pool.cache.items()
                    if g == group
                    and len(k) == len(half) + self.size // 2
                    and k[: len(half)] == half
                    and b not in self.fresh
                ),
                None,
            )
            block = None if source is None else self.pool.take()
            if block is None or source is None:
                return
            request.tables[group].append(block)
            request.copies += [group, source, block]
        self.seen["copy"] += 1
        request.computed += self.size // 2

    def _admit(self) -> None:
        if self.random.random() < 0.4 and len(self.waiting) + len(self.running) < 8:
            for _ in range(self.random.choice((1, 1, 2))):
                whole = [*[7] * (8 * self.scale), *range(8, 8 + 10 * self.scale)]
                stem = whole[: self.random.randrange(5 * self.scale, 18 * self.scale + 1)]
                tail = [self.random.randrange(50, 60) for _ in range(self.random.choice((0, 0, 3, 9)))]
                size = self.random.choice((12, 20, LIMIT))
                prompt, name = stem + tail, f"r{self.made}"
                new = Request(name, self.made, prompt, len(prompt) + size, len(prompt), self.size)
                self.waiting.append(new)
                self.made += 1
        while self.waiting and len(self.running) < 4 and len(self.pool.free) > 6:
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
        budget = self._go_on(14 * self.scale, rows)
        self._begin(budget, rows)
        if not self.asynchronous:
            zombies = [each for each in self.running if each.is_zombie]
        for request in zombies:
            if request in self.running:
                self.running.remove(request)
                self._release(request)
            else:  # preempted in this launch, and finished before
                self.waiting.remove(request)
        for request in self.running:
            self._slide(request)
        return [*rows, padding_row(self.number, 3, self.number % 2 - 1)] if rows else rows

    def _go_on(self, budget: int, rows: list[Row]) -> int:
        for request in list(self.running):
            if request not in self.running:
                continue
            needed = 1 if request.is_zombie else len(request.tokens) - request.computed
            size = min(needed + (NUM_DRAFTS if needed == 1 else 0), budget)
            if size <= 0:
                continue
            while not self._grow(request, request.computed + size + 1) and self.running[-1] is not request:
                self._preempt(rows)
            if len(request.tables[1]) * self.size < request.computed + size:
                continue
            budget -= size
            self._run(request, size, needed, rows)
        return budget

    def _begin(self, budget: int, rows: list[Row]) -> None:
        before = list(self.running)
        self._admit()
        for request in [each for each in self.running if each not in before]:
            size = min(len(request.tokens) - request.computed, budget)
            if size <= 0 or not self._grow(request, request.computed + size):
                continue
            budget -= size
            self._run(request, size, len(request.tokens) - request.computed, rows)

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
        if self.mistake == "resume-elsewhere" and request.begins and again and needed > self.size:
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

    def _row(self, request: Request, kind: str | None, start: int, size: int, **more: Any) -> Row:
        row = row_of(request, self.number, kind, start, size, **more)
        self.seen["limit"] += int((row.get("slots", np.zeros(0)) < 0).any())
        return row
