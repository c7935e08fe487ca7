"""Writes legal recorded runs to check, without torch; a change may spoil rows on their way to the disk."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from invariants.examples import CONTEXT, Before, StepRow, Tree, legal_step, next_before
from tracing.recorder import Recorder, RunWriter

SETTINGS = {"tree_nodes": 64, "depth": 7, "top_k": 3, "max_new_tokens": 64, "commit_mode": "fast_reorder"}
LIMITS = {
    name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(CONTEXT).items()
}
Change = Callable[[StepRow], StepRow]


def random_tree(chance: random.Random, root: int, num_nodes: int) -> Tree:
    """A tree in level order whose root has a rejected and, mostly, an accepted child."""
    parents, depths, tokens = [0], [0], [root]
    for node in range(1, num_nodes):
        fits = [each for each in range(parents[-1], node) if depths[each] < 6]
        parent = chance.choice(fits[:6])
        siblings = {tokens[each] for each in range(1, node) if parents[each] == parent}
        parents.append(parent)
        depths.append(depths[parent] + 1)
        tokens.append(chance.choice([token for token in range(3, 90) if token not in siblings]))
    choices = []
    for node in range(num_nodes):
        children = [tokens[each] for each in range(1, num_nodes) if parents[each] == node]
        choices.append(chance.choice(children) if children and chance.random() < 0.6 else 95)
    return Tree(parents, tokens, choices)


def legal_rows(num_steps: int, num_nodes: int = 12, seed: int = 7) -> Iterator[StepRow]:
    """Steps of as many turns as needed, one prompt each."""
    chance = random.Random(seed)
    prompt_id, done = 0, 0
    while done < num_steps:
        before = Before(prompt_id=prompt_id, kv_digest=prompt_id + 1)
        row = legal_step(random_tree(chance, 5, num_nodes), before)
        yield row
        done += 1
        while row["stop_reason"] is None and done < num_steps:
            before = next_before(row, before)
            row = legal_step(random_tree(chance, row["final_token_id"], num_nodes), before)
            yield row
            done += 1
        prompt_id += 1


def write_run(
    folder: Path,
    num_steps: int = 6,
    *,
    num_nodes: int = 12,
    change: Change = lambda row: row,
    manifest: dict[str, Any] | None = None,
    level: str = "full",
) -> Path:
    """Record legal steps as the path `fused`, each as `change` leaves it."""
    given = {"settings": SETTINGS, "limits": LIMITS} if manifest is None else manifest
    with RunWriter(folder, given) as writer:
        rows = (change(dict(row)) for row in legal_rows(num_steps, num_nodes))
        record(writer.path("fused", level=level), rows)
    return folder


def record(trace: Recorder, rows: Iterable[StepRow]) -> None:
    """Record steps, each with the columns that have a value."""
    for row in rows:
        values = {name: value for name, value in row.items() if value is not None}
        keys = {name: values.pop(name) for name in ("prompt_id", "turn", "step")}
        with trace.step(**keys) as step:
            step.record(**values)


def leak(row: StepRow) -> StepRow:
    """In step 2 the last node sees its sibling or cousin before it."""
    if row["step"] == 2:
        visible = row["visible"].copy()
        hidden = np.flatnonzero(~visible[-1])
        visible[-1, hidden[0]] = True
        row["visible"] = visible
    return row
