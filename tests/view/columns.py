"""Columns of made-up steps: trees, positions and grids are legal, the rest is random."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

VOCABULARY: Final = 500


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
