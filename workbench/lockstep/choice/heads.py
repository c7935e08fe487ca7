"""How often each Medusa head is right and at which rank, and the trees that grow from it.

A tree that holds the best tokens of every head is drafted after each token of a text. The candidates of a
head do not depend on the tree, so what any other tree accepts follows from the ranks alone, exactly.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tracing.stages import DecodePath, IntArray, NullWatch
from tracing.static_tree import WIDTH, RankPath
from workbench.lockstep.engine.step import run_prefill, run_step
from workbench.lockstep.engine.under_test import PathUnderTest


def fan(num_heads: int) -> list[RankPath]:
    """Return the tree of all best tokens of each head, behind the best token of the heads before it."""
    return [(0,) * head + (rank,) for head in range(num_heads) for rank in range(WIDTH)]


def written(paths: Iterable[RankPath]) -> str:
    """Return a tree as `tracing.static_tree` reads it, e.g. `0 1 0.0`."""
    return " ".join(".".join(map(str, path)) for path in sorted(paths, key=lambda path: (len(path), path)))


def record_ranks(path: DecodePath, prompt: Sequence[int], num_tokens: int, num_heads: int) -> IntArray:
    """Decode a text token by token and look the teacher's tokens up among the candidates of each head.

    Args:
        path: With Medusa heads on the tree `fan(num_heads)`.
        prompt: The context.
        num_tokens: Tokens to emit.
        num_heads: Heads of the drafter.

    Returns:
        int64 `[rows, heads]`: after each token whose future is known, the rank from 0 at which head h has the
        token h + 1 behind the root; `WIDTH` where it has not.
    """
    running = PathUnderTest.begin(path, NullWatch())
    run_prefill(running, prompt)
    candidates, text = [], []
    for _ in range(num_tokens):
        step = run_step(running, remaining=1)  # room for one token: only the root is committed
        candidates.append(np.asarray(step.drafted.token_ids)[1:].reshape(num_heads, WIDTH))
        text.append(step.accepted.final_token_id)
        if step.accepted.stop_reason == "eos":
            break
    rows = range(max(0, len(text) - num_heads + 1))
    ranks = [[_rank(candidates[row][head], text[row + head]) for head in range(num_heads)] for row in rows]
    return np.array(ranks, dtype=np.int64).reshape(-1, num_heads)


def _rank(tokens: IntArray, wanted: int) -> int:
    found = np.flatnonzero(tokens == wanted)
    return int(found[0]) if len(found) else WIDTH


def accuracies(ranks: IntArray) -> NDArray[np.float64]:
    """Return how often each head is right at each rank, `[heads, WIDTH]`."""
    return np.stack([(ranks == rank).mean(axis=0) for rank in range(WIDTH)], axis=1)


def grow(accuracy: NDArray[np.float64], num_nodes: int) -> list[RankPath]:
    """Grow a tree as Medusa's authors do: always the node that promises most, heads taken as independent.

    Args:
        accuracy: `[heads, WIDTH]`.
        num_nodes: Nodes below the root.

    Returns:
        Paths of ranks, in the order in which they grew; each behind the path above it.
    """
    num_heads, width = accuracy.shape
    grown: list[RankPath] = []
    waiting: list[tuple[float, RankPath]] = [(-float(accuracy[0, rank]), (rank,)) for rank in range(width)]
    heapq.heapify(waiting)
    while waiting and len(grown) < num_nodes:
        promise, path = heapq.heappop(waiting)
        grown.append(path)
        if len(path) < num_heads:
            for rank in range(width):
                heapq.heappush(waiting, (promise * float(accuracy[len(path), rank]), (*path, rank)))
    return grown


def grow_together(ranks: IntArray, num_nodes: int) -> list[RankPath]:
    """Grow a tree of the paths that were the teacher's most often, whole paths counted.

    No tree of so many nodes accepts more over the recorded rows.
    """
    counts: Counter[RankPath] = Counter()
    for row in ranks.tolist():
        for length in range(1, len(row) + 1):
            if row[length - 1] >= WIDTH:
                break
            counts[tuple(row[:length])] += 1
    order = sorted(counts, key=lambda path: (-counts[path], len(path), path))
    return order[:num_nodes]


def accepted(texts: Sequence[IntArray], paths: Iterable[RankPath]) -> list[int]:
    """Return the accepted tokens of each step of a tree that decodes recorded texts by itself.

    Args:
        texts: What `record_ranks` returned for each text.
        paths: The tree.
    """
    tree, counted = set(paths), []
    for ranks in texts:
        row = 0
        while row < len(ranks):
            wanted = tuple(ranks[row].tolist())
            depth = next((d for d in range(len(wanted)) if wanted[: d + 1] not in tree), len(wanted))
            counted.append(depth)
            row += depth + 1
    return counted
