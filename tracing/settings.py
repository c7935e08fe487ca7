"""Settings of one decoding run; the same words for both paths."""

from __future__ import annotations

from dataclasses import dataclass

from tracing.errors import UsageError


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """How a run decodes.

    Attributes:
        tree_nodes: N, nodes of the tree including the root (the official `total_token`).
        depth: Expansions after the first level; the deepest node has depth `depth + 1`.
        top_k: Beams kept per level and candidates scored per beam.
        max_new_tokens: Tokens to emit per turn, the first root included; never exceeded.
        top_logits: K, teacher logits recorded per node.
        commit_mode: `fast_reorder` (prefix sharing, falls back), `full_reorder` or `length`.
        kv_layout: `contiguous` or `paged`.
        block_size: Tokens per block of the paged layout.
        window: Drafter-only attention window in tokens; 0 is none.
    """

    tree_nodes: int = 60
    depth: int = 7
    top_k: int = 10
    max_new_tokens: int = 128
    top_logits: int = 8
    commit_mode: str = "fast_reorder"
    kv_layout: str = "contiguous"
    block_size: int = 128
    window: int = 0

    def __post_init__(self) -> None:
        for name, low in (("tree_nodes", 2), ("depth", 0), ("top_k", 1), ("max_new_tokens", 1)):
            if getattr(self, name) < low:
                raise UsageError(f"{name} should be at least {low}, got {getattr(self, name)}")
