"""Runs of any length to measure the screen on: lawful trees, positions and grids; the rest is noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tracing.finding import Finding
from tracing.moment import Moment
from tracing.reader import open_run
from tracing.recorder import RunWriter

TURN_STEPS: Final = 64
VOCABULARY: Final = 500
NUM_FINDINGS: Final = 50


def step_columns(step: int, num_nodes: int = 12, *, num_top: int = 4, num_heads: int = 4) -> dict[str, Any]:
    """All columns of a step with a lawful tree; the last two rows are pads where there are more than four."""
    random = np.random.default_rng(step)
    num_valid = num_nodes - 2 if num_nodes > 4 else num_nodes
    parents = np.array(
        [0] + [int(random.integers(0, node)) for node in range(1, num_valid)] + [0] * (num_nodes - num_valid)
    )
    valid = np.arange(num_nodes) < num_valid
    depths, visible = np.zeros(num_nodes, np.int64), np.zeros((num_nodes, num_nodes), bool)
    visible[0, 0] = True
    for node in range(1, num_valid):
        depths[node] = depths[parents[node]] + 1
        visible[node] = visible[parents[node]]
        visible[node, node] = True
    token_ids = np.where(valid, random.permutation(VOCABULARY)[:num_nodes], 0)
    accepted = [1] if num_valid > 1 else []
    choices = random.integers(0, VOCABULARY, num_nodes)
    if accepted:
        choices[0] = token_ids[1]
    top_ids = np.stack([random.permutation(VOCABULARY)[:num_top] for _ in range(num_nodes)])
    top_ids[:, 0] = choices
    committed_len = 20 + step * 2
    offsets = random.choice([0, 1, 3, 12, 300, 700], (num_nodes, num_heads))
    final = int(choices[accepted[-1] if accepted else 0])
    return {
        "context_token_ids": random.integers(0, VOCABULARY, committed_len + 1) if step == 0 else None,
        "proposer": "eagle3",
        "committed_len": committed_len,
        "committed_len_after": committed_len + len(accepted) + 1,
        "draft_logprobs": np.where(valid, -random.random(num_nodes), 0).astype(np.float32),
        "token_ids": token_ids,
        "parents": parents,
        "depths": depths,
        "valid": valid,
        "position_ids": committed_len + depths,
        "cache_positions": committed_len + np.arange(num_nodes),
        "slots": 1000 + committed_len + np.arange(num_nodes),
        "visible": visible,
        "prefix_visible": np.where(valid, committed_len, 0),
        "other_visible": np.zeros(num_nodes, int),
        "target_token_ids": choices,
        "target_top_ids": top_ids,
        "target_top_logits": -np.sort(random.random((num_nodes, num_top), dtype=np.float32)),
        "feature_row_digests": random.integers(0, 2**64, num_nodes, dtype=np.uint64),
        "accepted_nodes": np.array(accepted, np.int64),
        "final_token_id": final,
        "emitted_token_ids": np.array([*(token_ids[accepted]), final]),
        "stop_reason": None,
        "path_indices": committed_len + np.array([0, *accepted]),
        "commit_mode": "fast_reorder",
        "prefix_kept": True,
        "kv_digest_before": int(random.integers(0, 2**64, dtype=np.uint64)),
        "kv_digest_after": int(random.integers(0, 2**64, dtype=np.uint64)),
        "kv_row_digests": random.integers(0, 2**64, num_nodes, dtype=np.uint64),
        "draft_top1_offsets": np.ma.MaskedArray(offsets, mask=depths[:, None].repeat(num_heads, 1) > 2),
        "index_sites": [{"site": "verify.gather", "min": 0, "max": num_nodes - 1, "bound": num_nodes}],
        **{
            f"{stage}_ns": 1000 * (1 + step) for stage in ("draft", "tensorize", "verify", "accept", "commit")
        },
        "kernel": "npu_fused_infer_attention_score BNSD sparse 0 bool",
        "step_verdict": "ok",
    }


def write_long_run(folder: Path, num_steps: int, num_nodes: int = 60) -> Path:
    """Write a run of `num_steps` steps in turns of 64, quickly: one batch of rows under ever new keys.

    Args:
        folder: A folder that holds no run; a small one is written beside it.
        num_steps: Steps on each of the two paths.
        num_nodes: N of every step.

    Raises:
        TraceError: The folder holds a run.
        EnvironmentProblemError: It cannot be written.
    """
    seed = folder.with_name(folder.name + "-seed")
    with RunWriter(seed, {}, token_bytes=_token_bytes) as run:
        trace = run.path("fused")
        for step in range(TURN_STEPS):
            with trace.step(step=step) as recorded:
                recorded.record(**step_columns(step, num_nodes, num_top=8, num_heads=32))
    rows = next(iter(open_run(seed).path("fused").batches()))
    with RunWriter(folder, {"lockstep": "staged"}, token_bytes=_token_bytes) as run:
        for name in ("fused", "reference"):
            writer = run.path_writer(name, level="full")
            for batch in _numbered(rows, num_steps):
                writer.append_batch(batch)
        run.add_tokens({token_id: _token_bytes(token_id) for token_id in range(VOCABULARY)})
        last = (num_steps - 1) // TURN_STEPS
        for number in range(0, last, max(1, last // NUM_FINDINGS)):
            run.add_finding(_finding(number))
    return folder


def _numbered(rows: pa.RecordBatch, num_steps: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, num_steps, TURN_STEPS):
        batch = rows.slice(0, min(TURN_STEPS, num_steps - start))
        column = pa.array(np.full(batch.num_rows, start // TURN_STEPS, np.int32))
        yield batch.set_column(
            batch.schema.get_field_index("prompt_id"), batch.schema.field("prompt_id"), column
        )


def _token_bytes(token_id: int) -> bytes:
    return f" w{token_id}".encode()


def _finding(prompt_id: int) -> Finding:
    return Finding(
        "structural",
        "fused",
        Moment(prompt_id, 0, 7, "verify", 4),
        column="visible",
        rule="MASK001",
        message="made up, to have somewhere to go",
    )
