"""What smaller trees would accept, from one wide search recorded after every token of a text.

A beam's candidates depend only on its own path. So the search of a tree with fewer beams, levels or nodes
can be replayed from the wide one: its candidates are a part of the recorded ones. The replay is exact as long
as every beam of the smaller search was one of the wide search; a beam that was not has no candidates here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, DraftLevel, IntArray, NullWatch
from workbench.lockstep.engine.step import run_prefill, run_step
from workbench.lockstep.engine.under_test import PathUnderTest

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Position:
    """One position in a text: the wide search there, and the teacher's next tokens.

    Attributes:
        levels: As drafted.
        future: The teacher's next tokens.
    """

    levels: tuple[DraftLevel, ...]
    future: tuple[int, ...]


def record_positions(path: DecodePath, prompt: Sequence[int], num_tokens: int) -> list[Position]:
    """Decode a text token by token, drafting after each.

    Args:
        path: With the widest and deepest search; its tree may be small.
        prompt: The context.
        num_tokens: Tokens to emit; each but the first `len(levels)` from the end has its whole future.
    """
    running = PathUnderTest.begin(path, NullWatch())
    run_prefill(running, prompt)
    levels, text = [], []
    for _ in range(num_tokens):
        step = run_step(running, remaining=1)  # room for one token: only the root is committed
        assert step.drafted.levels is not None  # only a drafter that searches has a tree to choose
        levels.append(step.drafted.levels)
        text.append(step.accepted.final_token_id)
        if step.accepted.stop_reason == "eos":
            break
    depth = len(levels[0])
    return [Position(one, tuple(text[i : i + depth])) for i, one in enumerate(levels)]


@dataclass(frozen=True, slots=True)
class Replayed:
    """A narrower search at one position.

    Attributes:
        ranks: For each number of levels d = 1, 2, ...: the rank, from 1, of the node of the teacher's path at
            each depth 1 .. d among all candidates of the first d levels, as far as the path is drafted. A
            tree of N nodes holds the nodes of rank below N.
        best: Score of the best candidate of each level.
    """

    ranks: list[NDArray[np.int64]]
    best: list[float]

    def expansions(self, settings: DecodeSettings) -> int:
        """Return how often a search with these settings goes on after its first level."""
        ended = (d for d in range(settings.depth) if self.best[d] < settings.stop_score)
        return next(ended, settings.depth)


def replayed(position: Position, top_k: int) -> Replayed:
    """Return a narrower search out of the recorded one."""
    scores: list[Floats] = []
    path: list[float] = []
    found: list[NDArray[np.int64]] = []
    best: list[float] = []
    lead: IntArray | None = None  # flat numbers of the live beams, in the wide search's numbering
    on_path = 0  # flat number of the path's last node that was drafted
    wide_k = position.levels[0].token_ids.shape[1]
    for depth, level in enumerate(position.levels):
        rows = np.zeros(1, np.int64) if lead is None else _rows(level, lead)
        tokens, values = level.token_ids[rows, :top_k], level.scores[rows, :top_k]
        flat = _flat(depth, rows, tokens.shape[1], wide_k)
        if depth < len(position.future) and len(path) == depth:
            on = _on_path(level, rows, on_path, depth)
            hit = np.argwhere(on[:, None] & (tokens == position.future[depth]))
            if len(hit):
                row, column = hit[0]
                path.append(float(values[row, column]))
                on_path = int(flat[row, column])
        scores.append(values.ravel())
        best.append(float(values.max(initial=-np.inf)))
        everything = np.sort(np.concatenate(scores))
        found.append(len(everything) - np.searchsorted(everything, np.array(path, np.float32)))
        order = np.argsort(-values.ravel(), kind="stable")[:top_k]
        lead = flat.ravel()[order]
    return Replayed(found, best)


def _rows(level: DraftLevel, lead: IntArray) -> IntArray:
    """Return which rows of a level expand the given beams; those never expanded are left out."""
    where = {int(flat): row for row, flat in enumerate(level.beam_flat_ids)}
    return np.array([where[int(flat)] for flat in lead if int(flat) in where], dtype=np.int64)


def _flat(depth: int, rows: IntArray, width: int, wide_k: int) -> IntArray:
    """Return the official flat numbers of the first candidates of some rows, `[rows, width]`."""
    start = 0 if depth == 0 else wide_k + (depth - 1) * wide_k * wide_k
    return start + rows[:, None] * wide_k + np.arange(width)


def _on_path(level: DraftLevel, rows: IntArray, on_path: int, depth: int) -> NDArray[np.bool_]:
    """Return which rows expand the path's last node."""
    if depth == 0:
        return np.ones(len(rows), dtype=np.bool_)
    return np.asarray(level.beam_flat_ids[rows] == on_path)


class Acceptance:
    """Acceptance of trees over recorded texts, each a sequence of positions."""

    def __init__(self, texts: Sequence[Sequence[Position]]) -> None:
        self._texts = texts
        self._replayed: dict[int, list[list[Replayed]]] = {}

    def steps(self, settings: DecodeSettings) -> tuple[float, float]:
        """Return what a step of such a search has on average where it decodes the texts by itself.

        Returns:
            Accepted tokens, and expansions after the first level.
        """
        depth, top_k = settings.depth, settings.top_k
        if top_k not in self._replayed:
            self._replayed[top_k] = [[replayed(one, top_k) for one in text] for text in self._texts]
        steps = []
        for text in self._replayed[top_k]:
            place = 0
            while place + depth < len(text):  # a step whose whole future is known
                expansions = text[place].expansions(settings)
                ranks = text[place].ranks[expansions]
                accepted = int(np.cumprod(ranks < settings.tree_nodes).sum())
                steps.append((accepted, expansions))
                place += accepted + 1
        accepted_tokens, levels = np.mean(steps, axis=0) if steps else (0.0, depth)
        return float(accepted_tokens), float(levels)
