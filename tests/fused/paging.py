"""Paged runs for the tests of the paged cache."""

from __future__ import annotations

from typing import Any

from tests.fused.support import Run, fused_path, small_pair, start
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import Tensorized, Verified

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7]


ATTENTION = "npu_fused_infer_attention_score"


def paged(block_size: int = 16, **changes: Any) -> DecodeSettings:
    return DecodeSettings(
        **{
            "tree_nodes": 16,
            "depth": 3,
            "top_k": 4,
            "kv_layout": "paged",
            "block_size": block_size,
            **changes,
        }
    )


def wide_pair(seed: int = 5, **changes: Any) -> ModelPair:
    """Head dim 64, at which the operator takes blocks of any multiple of 16."""
    return small_pair(seed, **{"hidden": 128, "heads": 2, "kv_heads": 1, "head_dim": 64, **changes})


def at_a_boundary(**changes: Any) -> tuple[Run, Tensorized]:
    """A run whose next tree crosses from one block into the next."""
    run = start(fused_path(wide_pair(), paged(**changes)), PROMPT)
    stages = run.path.stages
    tree = stages.tensorize(run.state, stages.draft(run.state))
    assert len(set(tree.cache_positions // 16)) == 2
    return run, tree


def verify(run: Run, tree: Tensorized) -> Verified:
    return run.path.stages.verify(run.state, tree)
