"""A small tree and a writer of small runs, shared by the trace's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracing.columns import COLUMN_BY_NAME, Column
from tracing.recorder import RunWriter
from tracing.schema import NUMPY_DTYPES

NUM_NODES, NUM_TOP, NUM_HEADS = 7, 3, 2


SIZES = {
    "K": NUM_TOP,
    "H": NUM_HEADS,
    "A": 1,
    "A+1": 2,
    "G": 2,
    "B": 3,
    "R": 3,
    "M": 2,
    "E": 2,
    "X": 4,
    "*": 4,
}
NEWER = tuple(name for name in list(COLUMN_BY_NAME)[list(COLUMN_BY_NAME).index("row_kind") + 1 :])
"""Columns since format 1.1 that a step may have; they hold any values of their type."""


def plain_value(column: Column, random: np.random.Generator, num_nodes: int) -> Any:
    """Any value of a column's type and form."""
    if column.kind in {"string", "dictionary"}:
        return f"{column.name} {random.integers(0, 3)}"
    sizes = SIZES | {"N": num_nodes}
    shape = [sizes[letter] for letter in column.axes or ()]
    values = random.integers(0, 2 if column.kind == "bool" else 100, shape)
    cast = np.asarray(values).astype(NUMPY_DTYPES[column.kind])
    return cast if column.is_list else cast.item()


def step_columns(step: int, num_nodes: int = NUM_NODES, seed: int = 0) -> dict[str, Any]:
    """All columns of one plausible step, deterministic in `step` and `seed`."""
    random = np.random.default_rng([seed, step])
    parents = np.array([0] + [int(random.integers(0, node)) for node in range(1, num_nodes)])
    depths = np.zeros(num_nodes, np.int64)
    visible = np.eye(num_nodes, dtype=bool)
    for node in range(1, num_nodes):
        depths[node] = depths[parents[node]] + 1
        visible[node] |= visible[parents[node]]
    committed_len = 20 + 2 * step
    offsets = np.ma.MaskedArray(
        random.integers(0, 9, (num_nodes, NUM_HEADS)), mask=random.random((num_nodes, NUM_HEADS)) < 0.3
    )
    return {name: plain_value(COLUMN_BY_NAME[name], random, num_nodes) for name in NEWER} | {
        "context_token_ids": random.integers(0, 512, committed_len + 1) if step == 0 else None,
        "proposer": "eagle3",
        "committed_len": committed_len,
        "committed_len_after": committed_len + 2,
        "beam_flat_ids": random.integers(0, 30, 4),
        "draft_parents": None,
        "draft_logprobs": random.random(num_nodes, dtype=np.float32) - 1,
        "token_ids": random.integers(0, 512, num_nodes),
        "parents": parents,
        "depths": depths,
        "valid": np.ones(num_nodes, bool),
        "position_ids": committed_len + depths,
        "cache_positions": committed_len + np.arange(num_nodes),
        "slots": np.arange(num_nodes) * 128,
        "visible": visible,
        "prefix_visible": np.full(num_nodes, committed_len),
        "other_visible": np.zeros(num_nodes, int),
        "target_token_ids": random.integers(0, 512, num_nodes),
        "target_top_ids": random.integers(0, 512, (num_nodes, NUM_TOP)),
        "target_top_logits": random.random((num_nodes, NUM_TOP), dtype=np.float32),
        "feature_row_digests": random.integers(0, 2**64, num_nodes, dtype=np.uint64),
        "accepted_nodes": np.array([1]),
        "final_token_id": int(random.integers(0, 512)),
        "emitted_token_ids": random.integers(0, 512, 2),
        "stop_reason": None,
        "path_indices": np.array([committed_len, committed_len + 1]),
        "commit_mode": "fast_reorder",
        "commit_fallback": None,
        "prefix_kept": True,
        "kv_digest_before": int(random.integers(0, 2**64, dtype=np.uint64)),
        "kv_digest_after": int(random.integers(0, 2**64, dtype=np.uint64)),
        "kv_row_digests": random.integers(0, 2**64, num_nodes, dtype=np.uint64),
        "draft_top1_offsets": offsets,
        "index_sites": [{"site": "verify.gather", "min": -1, "max": 5, "bound": num_nodes}],
        **{f"{stage}_ns": 1000 + step for stage in ("draft", "tensorize", "verify", "accept", "commit")},
        "kernel": "npu_fused_infer_attention_score BNSD sparse 0 bool",
        "step_verdict": "ok",
    }


def record_step(trace: Any, step: int, **changed: Any) -> dict[str, Any]:
    """Record one step the way a path does, and return what was given."""
    columns = {**step_columns(step), **changed}
    with trace.step(step=step) as recorded:
        recorded.about_to_run("verify", token_ids=columns["token_ids"], visible=columns["visible"])
        recorded.record(**columns)
    return columns


@pytest.fixture
def small_run(tmp_path: Path) -> Path:
    """A closed run of two paths, three steps each, with vocabulary."""
    folder = tmp_path / "run"
    with RunWriter(folder, {"lockstep": "staged"}, token_bytes=lambda token_id: b"<%d>" % token_id) as run:
        for name in ("fused", "reference"):
            trace = run.path(name, lacks=["slots"])
            for step in range(3):
                record_step(trace, step)
    return folder
