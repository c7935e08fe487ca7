"""Long runs of legal 60-node steps through the real writer: what the costs of reading are held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from invariants.context import RunContext
from invariants.examples import Before, StepRow, Tree, legal_step, next_before
from tracing.batches import batch_of_rows
from tracing.columns import COLUMN_BY_NAME
from tracing.recorder import RunWriter
from tracing.values import convert
from tracing.writer import MAX_BATCH_STEPS

NUM_NODES: Final = 60
NUM_TOP: Final = 8
VOCAB_SIZE: Final = 32_000
MAX_DEPTH: Final = 8
TOP_K: Final = 10
CONTEXT: Final = RunContext(
    vocab_size=VOCAB_SIZE,
    eos_token_ids=frozenset({2}),
    max_positions=4096,
    max_tree_nodes=NUM_NODES,
    max_tree_depth=MAX_DEPTH,
    top_k=TOP_K,
    asked_commit_mode="fast_reorder",
)


def write_long_run(folder: Path, num_steps: int, *, last_token: int | None = None) -> None:
    """Write a run: one turn of 64 steps after another, each with a prompt number of its own.

    Values are drawn at random, so that they compress as badly as a recorder can ever meet.

    Args:
        folder: The new run.
        num_steps: Steps in all.
        last_token: Final token of the last step, to make a run that differs in its last step only.
    """
    manifest = {"limits": {**asdict(CONTEXT), "eos_token_ids": [2]}, "engine": "benchmark"}
    turn = _turn()
    with RunWriter(folder, manifest) as run:
        writer = run.path_writer("fused", level="full")
        for first in range(0, num_steps, MAX_BATCH_STEPS):
            batch = _renumbered(turn.slice(0, num_steps - first), first // MAX_BATCH_STEPS)
            if last_token is not None and first + MAX_BATCH_STEPS >= num_steps:
                batch = _ending_in(batch, last_token)
            writer.append_batch(batch)


@cache
def _turn() -> pa.RecordBatch:
    """Return the 64 steps of one turn as Arrow."""
    return batch_of_rows([as_values(row) for row in legal_rows(MAX_BATCH_STEPS)])


def as_values(row: StepRow) -> dict[str, Any]:
    """Return one row as the recorder holds it."""
    return {name: convert(COLUMN_BY_NAME[name], value) for name, value in row.items()}


def legal_rows(num_steps: int, seed: int = 0) -> list[StepRow]:
    """Return the rows of one turn of 60-node steps that break no rule."""
    random = np.random.default_rng(seed)
    before = Before(committed_len=40, prompt_len=40)
    rows: list[StepRow] = []
    for _ in range(num_steps):
        root = rows[-1]["final_token_id"] if rows else 7
        row = _with_top(legal_step(_tree(random, root), before, CONTEXT), random)
        rows.append(row)
        before = next_before(row, before)
    return rows


def _tree(random: np.random.Generator, root: int) -> Tree:
    """Draw a tree in level order, with up to three pads; the teacher follows it about two times in three."""
    num_nodes = NUM_NODES - int(random.integers(0, 4))
    parents, depths = [0], [0]
    for _ in range(1, num_nodes):
        free = [node for node in range(parents[-1], len(parents)) if depths[node] < MAX_DEPTH]
        parents.append(free[min(int(random.geometric(0.3)) - 1, len(free) - 1)])
        depths.append(depths[parents[-1]] + 1)
    tokens = [root, *(3 + random.permutation(VOCAB_SIZE - 3)[: num_nodes - 1]).tolist()]
    choices = (3 + random.integers(0, VOCAB_SIZE - 3, num_nodes)).tolist()
    for node in range(num_nodes):
        children = [child for child in range(1, num_nodes) if parents[child] == node]
        if children and random.random() < 2 / 3:
            choices[node] = tokens[random.choice(children)]
    return Tree(parents, tokens, choices, NUM_NODES - num_nodes)


def _with_top(row: StepRow, random: np.random.Generator) -> StepRow:
    """Give a step its best eight tokens, the choice first, with logits that share no bits."""
    choices = row["target_token_ids"]
    others = (choices[:, None] + 1 + np.sort(random.permutation(VOCAB_SIZE - 1)[: NUM_TOP - 1])) % VOCAB_SIZE
    logits = -np.sort(-random.normal(8, 2, (NUM_NODES, NUM_TOP)).astype(np.float32), axis=1)
    stages = {f"{stage}_ns": int(random.integers(10**5, 10**8)) for stage in ("draft", "verify", "accept")}
    return (
        row
        | stages
        | {
            "beam_flat_ids": _beams(random),
            "target_top_ids": np.concatenate([choices[:, None], others], axis=1).astype(np.int32),
            "target_top_logits": logits,
            "draft_top1_offsets": np.ma.array(random.integers(0, 40, (NUM_NODES, 4)), mask=_leaves(row)),
        }
    )


def _beams(random: np.random.Generator) -> Any:
    """Return the flat numbers of the beams of each level: all of the first, ten of each later hundred."""
    later = [
        TOP_K + level * TOP_K**2 + np.sort(random.permutation(TOP_K**2)[:TOP_K])
        for level in range(MAX_DEPTH - 2)
    ]
    return np.concatenate([np.arange(TOP_K), *later])


def _leaves(row: StepRow) -> Any:
    """Return True for each node that was never expanded, `[60, 4]`."""
    expanded = np.isin(np.arange(NUM_NODES), row["parents"])
    return np.repeat(~expanded[:, None], 4, axis=1)


def _renumbered(batch: pa.RecordBatch, prompt_id: int) -> pa.RecordBatch:
    return _with_column(batch, "prompt_id", pa.array([prompt_id] * batch.num_rows, pa.int32()))


def _ending_in(batch: pa.RecordBatch, token: int) -> pa.RecordBatch:
    tokens = batch.column("final_token_id").to_pylist()
    return _with_column(batch, "final_token_id", pa.array([*tokens[:-1], token], pa.int32()))


def _with_column(batch: pa.RecordBatch, name: str, array: Any) -> pa.RecordBatch:
    arrays: Sequence[Any] = [array if each == name else batch.column(each) for each in batch.schema.names]
    return pa.RecordBatch.from_arrays(list(arrays), schema=batch.schema)
