"""Long runs of legal steps through the real writer: what the costs of reading are measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from costs.workshop import NUM_NODES
from invariants.context import RunContext
from invariants.examples import Before, StepRow, Tree, legal_step, next_before, searched
from tracing.columns import COLUMN_BY_NAME
from tracing.finding import Finding
from tracing.ipc_message import MAX_BATCH_STEPS
from tracing.moment import Moment
from tracing.recorder import RunWriter
from tracing.rows import batch_of_rows
from tracing.values import convert

NUM_TOP: Final = 8
VOCAB_SIZE: Final = 32_000
MAX_DEPTH: Final = 8
TOP_K: Final = 10
NUM_FINDINGS: Final = 50
CONTEXT: Final = RunContext(
    vocab_size=VOCAB_SIZE,
    eos_token_ids=frozenset({2}),
    max_positions=4096,
    max_tree_nodes=NUM_NODES,
    max_tree_depth=MAX_DEPTH,
    top_k=TOP_K,
    asked_commit_mode="fast_reorder",
)


def write_long_run(
    folder: Path,
    num_steps: int,
    *,
    num_nodes: int = NUM_NODES,
    last_token: int | None = None,
    for_screen: bool = False,
    digests: bool = True,
) -> Path:
    """Write a run: one turn of 64 steps after another, each with a prompt number of its own.

    Values are drawn at random, so that they compress as badly as a recorder can ever meet.

    Args:
        folder: The new run.
        num_steps: Steps in all.
        num_nodes: N of every step.
        last_token: Final token of the last step, to make a run that differs in its last step only.
        for_screen: With all that the screen shows: two paths, a vocabulary, findings, 32 heads.
        digests: With the columns of level digest.

    Raises:
        TraceError: The folder holds a run.
        EnvironmentProblemError: It cannot be written.
    """
    manifest: dict[str, Any] = {"lockstep": "staged"} if for_screen else {}
    manifest |= {"limits": {**asdict(CONTEXT), "eos_token_ids": [2]}, "engine": "benchmark"}
    with RunWriter(folder, manifest, token_bytes=_token_bytes if for_screen else None) as run:
        for name in ("fused", "reference") if for_screen else ("fused",):
            writer = run.path_writer(name, level="full")
            turn = _turn(num_nodes, 32 if for_screen else 4, digests=digests)
            for batch in _batches(turn, num_steps, last_token):
                writer.append_batch(batch)
        if for_screen:
            run.add_tokens({token_id: _token_bytes(token_id) for token_id in range(VOCAB_SIZE)})
            last = (num_steps - 1) // MAX_BATCH_STEPS
            for prompt_id in range(0, last, max(1, last // NUM_FINDINGS)):
                run.add_finding(_finding(prompt_id))
    return folder


def _batches(turn: pa.RecordBatch, num_steps: int, last_token: int | None) -> Iterator[pa.RecordBatch]:
    for first in range(0, num_steps, MAX_BATCH_STEPS):
        batch = _renumbered(turn.slice(0, num_steps - first), first // MAX_BATCH_STEPS)
        is_last = first + MAX_BATCH_STEPS >= num_steps
        yield batch if last_token is None or not is_last else _ending_in(batch, last_token)


def _token_bytes(token_id: int) -> bytes:
    return f" w{token_id}".encode()


def _finding(prompt_id: int) -> Finding:
    return Finding(
        "structural",
        "fused",
        Moment(prompt_id, 0, 7, "verify", 1),
        "visible",
        rule="MASK001",
        message="made up, to have somewhere to go",
    )


@cache
def _turn(num_nodes: int, num_heads: int, *, digests: bool) -> pa.RecordBatch:
    """Return the 64 steps of one turn as Arrow."""
    rows = legal_rows(MAX_BATCH_STEPS, num_nodes=num_nodes, num_heads=num_heads)
    left_out = {name for name, column in COLUMN_BY_NAME.items() if column.level == "digest" and not digests}
    kept = [{name: value for name, value in row.items() if name not in left_out} for row in rows]
    return batch_of_rows([as_values(row) for row in kept])


def as_values(row: StepRow) -> dict[str, Any]:
    """Return one row as the recorder holds it."""
    return {name: convert(COLUMN_BY_NAME[name], value) for name, value in row.items()}


def legal_rows(num_steps: int, *, num_nodes: int = NUM_NODES, num_heads: int = 4) -> list[StepRow]:
    """Return the rows of one turn of steps that break no rule."""
    random = np.random.default_rng(0)
    before = Before(committed_len=40, prompt_len=40)
    rows: list[StepRow] = []
    for _ in range(num_steps):
        root = rows[-1]["final_token_id"] if rows else 7
        tree = _tree(random, root, num_nodes)
        row = legal_step(tree, before, CONTEXT)
        row |= _random_columns(row, random)
        row |= _search_columns(tree, row, random, num_heads)
        rows.append(row)
        before = next_before(row, before)
    return rows


def _tree(random: np.random.Generator, root: int, padded: int) -> Tree:
    """Draw a tree in level order, with up to three pads; the teacher follows it about two times in three."""
    num_nodes = padded - int(random.integers(0, 4))
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
    return Tree(parents, tokens, choices, padded - num_nodes)


def _random_columns(row: StepRow, random: np.random.Generator) -> StepRow:
    """Return times and the best eight tokens, the choice first; no logits share bits."""
    choices = row["target_token_ids"]
    others = (choices[:, None] + 1 + np.sort(random.permutation(VOCAB_SIZE - 1)[: NUM_TOP - 1])) % VOCAB_SIZE
    logits = -np.sort(-random.normal(8, 2, (len(choices), NUM_TOP)).astype(np.float32), axis=1)
    return {
        **{f"{stage}_ns": int(random.integers(10**5, 10**8)) for stage in ("draft", "verify", "accept")},
        "target_top_ids": np.concatenate([choices[:, None], others], axis=1).astype(np.int32),
        "target_top_logits": logits,
    }


def _search_columns(tree: Tree, row: StepRow, random: np.random.Generator, num_heads: int) -> StepRow:
    """Return the beams of a search for the tree, and distances of the nodes that it expands."""
    beams, expanded = searched(tree, row["depths"], TOP_K, MAX_DEPTH - 1)
    hidden = ~np.isin(np.arange(len(row["parents"])), expanded)
    offsets = random.integers(0, 40, (len(hidden), num_heads))
    return {
        "beam_flat_ids": np.array(beams, dtype=np.int32),
        "draft_top1_offsets": np.ma.array(offsets, mask=hidden[:, None].repeat(num_heads, axis=1)),
    }


def _renumbered(batch: pa.RecordBatch, prompt_id: int) -> pa.RecordBatch:
    return _with_column(batch, "prompt_id", pa.array([prompt_id] * batch.num_rows, pa.int32()))


def _ending_in(batch: pa.RecordBatch, token: int) -> pa.RecordBatch:
    tokens = batch.column("final_token_id").to_pylist()
    return _with_column(batch, "final_token_id", pa.array([*tokens[:-1], token], pa.int32()))


def _with_column(batch: pa.RecordBatch, name: str, array: Any) -> pa.RecordBatch:
    arrays: Sequence[Any] = [array if each == name else batch.column(each) for each in batch.schema.names]
    return pa.RecordBatch.from_arrays(list(arrays), schema=batch.schema)
