"""Legal steps and runs, built from a tree and the teacher's choices; on which no rule may report anything.

A step is made as a path makes it: the tree, positions, visibility as the closure, acceptance by walking down
while a child has the teacher's choice, then emission, the cut at the end of the turn, and commit. Digests and
logits are functions of what they stand for (token, position, path), so that laws about equality hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from invariants.ancestry import ancestor_or_self, path_to_root
from invariants.context import RunContext
from tracing.digest import chain
from tracing.run_facts import ModelFacts

StepRow = dict[str, Any]

TOP_K: Final = 3
"""Beams of a level, candidates of a beam."""
CONTEXT: Final = RunContext(
    vocab_size=97,
    eos_token_ids=frozenset({2}),
    max_new_tokens=64,
    max_positions=512,
    kv_capacity=512,
    num_slots=1024,
    block_size=16,
    max_tree_nodes=64,
    max_tree_depth=8,
    top_k=TOP_K,
    asked_commit_mode="fast_reorder",
    model_facts=ModelFacts(num_experts=6, expert_groups=2),
)
"""Facts of the runs that this module builds."""
NUM_LOGITS: Final = 4
NUM_HEADS: Final = 2
FIRST_SLOT: Final = 160


@dataclass(frozen=True, slots=True)
class Tree:
    """A drafted tree before padding.

    Attributes:
        parents: `[n]`, parents first; node 0 is the root.
        token_ids: `[n]`; siblings differ.
        choices: Teacher's choice after each node, `[n]`.
        num_pads: Pads to append.
    """

    parents: Sequence[int]
    token_ids: Sequence[int]
    choices: Sequence[int]
    num_pads: int = 0


@dataclass(frozen=True, slots=True)
class Before:
    """What a step begins with.

    Attributes:
        prompt_id, turn, step: Coordinates.
        committed_len: L.
        prompt_len: Tokens of the turn's prompt; the context of the first step has one more.
        kv_digest: Chain over the committed rows.
    """

    prompt_id: int = 0
    turn: int = 0
    step: int = 0
    committed_len: int = 10
    prompt_len: int = 10
    kv_digest: int = 12345


def mixed(*numbers: int) -> int:
    """Return 64 bits that differ for different numbers, for all that a test can tell (splitmix64)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) % 2**64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
        state ^= state >> 31
    return state


def legal_step(tree: Tree, before: Before, context: RunContext = CONTEXT) -> StepRow:
    """Return all columns of one legal step.

    Args:
        tree: What was drafted and what the teacher says about it.
        before: What the step begins with.
        context: End-of-sequence tokens and the token limit, for the cut.
    """
    row = _tree_columns(tree, before)
    row |= _seen_columns(row, tree, before)
    return row | after_acceptance(row, before, context)


def after_acceptance(row: StepRow, before: Before, context: RunContext = CONTEXT) -> StepRow:
    """Return what accept and commit record for a tree and the teacher's choices in `row`."""
    accepted = _accept_columns(row, before, context)
    return accepted | _commit_columns(row | accepted, before)


def next_before(row: StepRow, before: Before) -> Before:
    """Return what the step after `row` begins with, in the same turn."""
    length, digest = row["committed_len_after"], row["kv_digest_after"]
    return replace(before, step=before.step + 1, committed_len=length, kv_digest=digest)


def _tree_columns(tree: Tree, before: Before) -> StepRow:
    """Return what draft and tensorize record."""
    num_nodes = len(tree.parents) + tree.num_pads
    pads = [0] * tree.num_pads
    parents = np.array([*tree.parents, *pads], dtype=np.int32)
    depths = np.array(
        [len(path_to_root(node, parents) or ()) - 1 for node in range(num_nodes)], dtype=np.int32
    )
    valid = np.arange(num_nodes) < len(tree.parents)
    depths[~valid] = 0
    logprobs = np.zeros(num_nodes, dtype=np.float32)
    for node in range(1, len(tree.parents)):
        rank = parents[1:node].tolist().count(parents[node])
        logprobs[node] = logprobs[parents[node]] - np.float32(
            0.25 + rank + (mixed(before.committed_len, node) % 64) / 128
        )
    places = np.arange(before.committed_len, before.committed_len + num_nodes)
    offsets = np.ma.array(np.zeros((num_nodes, NUM_HEADS), dtype=np.int32), mask=True)
    beams, expanded = searched(tree, depths, TOP_K, 2)
    offsets[expanded] = [0, before.committed_len]
    first = before.step == 0
    return {
        "prompt_id": before.prompt_id,
        "turn": before.turn,
        "step": before.step,
        "context_token_ids": _context(before.prompt_len, tree.token_ids[0]) if first else None,
        "proposer": "eagle3",
        "committed_len": before.committed_len,
        "beam_flat_ids": np.array(beams or [0, 1, 2, 3, 7, 11], dtype=np.int32),
        "draft_logprobs": logprobs,
        "draft_top1_offsets": offsets,
        "token_ids": np.array([*tree.token_ids, *pads], dtype=np.int32),
        "parents": parents,
        "depths": depths,
        "valid": valid,
        "position_ids": (before.committed_len + depths).astype(np.int32),
        "cache_positions": places.astype(np.int32),
        "slots": (places + FIRST_SLOT).astype(np.int64),
    }


def searched(tree: Tree, depths: Any, top_k: int, num_levels: int) -> tuple[list[int], list[int]]:
    """Return the beams of a search that makes a tree, and the nodes that it expands, the root first.

    Nodes with children are beams, and others only where a level needs them to be full. Both are empty where
    no search with `top_k` beams makes the tree.

    Args:
        tree: Siblings stand together, best first.
        depths: Depth of each node.
        top_k: Beams of a level, candidates of a beam.
        num_levels: Levels of beams, at least.
    """
    parents, numbers = list(tree.parents), {0: -1}
    beams: list[int] = []
    for level in range(max(num_levels, *depths)):
        start, size = (0, top_k) if level == 0 else (top_k + (level - 1) * top_k**2, top_k**2)
        nodes = [node for node in range(1, len(parents)) if depths[node] == level + 1]
        for node in nodes:
            above = 0 if level == 0 else beams[-top_k:].index(numbers[parents[node]])
            numbers[node] = start + above * top_k + parents[1:node].count(parents[node])
        with_children = [node for node in nodes if node in parents[1:]]
        ranks = [parents[1:node].count(parents[node]) for node in nodes]
        if len(with_children) > top_k or max(ranks, default=0) >= top_k:
            return [], []
        level_beams = [numbers[node] for node in with_children]
        others = sorted(
            set(range(start, start + size)) - set(level_beams),
            key=lambda each: (each in numbers.values(), each),
        )
        beams += sorted(level_beams + others[: top_k - len(level_beams)])
    return beams, [node for node, number in numbers.items() if node == 0 or number in beams]


def _context(prompt_len: int, root: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return a prompt of ordinary tokens and the first root."""
    return np.array([*(3 + place % 50 for place in range(prompt_len)), root], dtype=np.int32)


def _seen_columns(row: StepRow, tree: Tree, before: Before) -> StepRow:
    """Return what verify records."""
    parents, valid = row["parents"], row["valid"]
    num_nodes = len(parents)
    spoken = [
        mixed(before.kv_digest, *(int(row["token_ids"][node]) for node in path_to_root(node, parents) or ()))
        for node in range(num_nodes)
    ]
    choices = np.array([*tree.choices, *[tree.choices[0]] * tree.num_pads], dtype=np.int32)
    top_ids = np.stack([(choices + rank) % 97 for rank in range(NUM_LOGITS)], axis=1)
    best = np.array([10 + (code % 2**16) / 2**14 for code in spoken], dtype=np.float32)
    identity = list(zip(row["token_ids"].tolist(), row["position_ids"].tolist(), spoken, strict=True))
    return {
        "visible": ancestor_or_self(parents, valid),
        "prefix_visible": np.where(valid, before.committed_len, 0).astype(np.int32),
        "other_visible": np.zeros(num_nodes, dtype=np.int32),
        "target_token_ids": choices,
        "target_top_ids": top_ids.astype(np.int32),
        "target_top_logits": np.stack([best - rank for rank in range(NUM_LOGITS)], axis=1),
        "feature_row_digests": np.array([mixed(1, *each) for each in identity], dtype=np.uint64),
        "kv_row_digests": np.array([mixed(2, *each) for each in identity], dtype=np.uint64),
        "kv_digest_before": before.kv_digest,
        "index_sites": [{"site": "embedding", "min": 0, "max": 96, "bound": 97}],
        "kernel": "npu_fused_infer_attention_score",
        **_experts(spoken),
    }


def _experts(spoken: Sequence[int]) -> StepRow:
    """Return the experts of two layers, one of each of two groups of three, and how many rows each got."""
    ids = np.array(
        [
            [[3 * group + mixed(layer, code, group) % 3 for group in (0, 1)] for code in spoken]
            for layer in (0, 1)
        ],
        dtype=np.int32,
    )
    loads = [np.bincount(layer.ravel(), minlength=6) for layer in ids]
    return {"expert_ids": ids.ravel(), "expert_loads": np.concatenate(loads).astype(np.int32)}


def _accept_columns(row: StepRow, before: Before, context: RunContext) -> StepRow:
    """Return what accept records: walk down, emit, cut."""
    accepted: list[int] = []
    node = _chosen_child(row, 0)
    while node is not None:
        accepted.append(node)
        node = _chosen_child(row, node)
    last = accepted[-1] if accepted else 0
    emitted = [int(row["token_ids"][each]) for each in accepted] + [int(row["target_token_ids"][last])]
    emitted, stop_reason = _cut(emitted, before, context)
    accepted = accepted[: len(emitted) - 1]
    return {
        "accepted_nodes": np.array(accepted, dtype=np.int32),
        "final_token_id": emitted[-1],
        "emitted_token_ids": np.array(emitted, dtype=np.int32),
        "stop_reason": stop_reason,
        "path_indices": np.array([0, *accepted], dtype=np.int32) + np.int32(before.committed_len),
    }


def _chosen_child(row: StepRow, parent: int) -> int | None:
    """Return the valid child of a node that carries the teacher's choice, or None."""
    for node in range(parent + 1, len(row["parents"])):
        on_path = row["valid"][node] and row["parents"][node] == parent
        if on_path and row["token_ids"][node] == row["target_token_ids"][parent]:
            return node
    return None


def _cut(emitted: list[int], before: Before, context: RunContext) -> tuple[list[int], str | None]:
    """Shorten what is emitted at the token limit, then at an end-of-sequence token."""
    stop_reason = None
    if context.max_new_tokens is not None:
        remaining = context.max_new_tokens - (before.committed_len - before.prompt_len + 1)
        if len(emitted) >= remaining:
            emitted, stop_reason = emitted[:remaining], "length"
    for place, token in enumerate(emitted):
        if token in (context.eos_token_ids or ()):
            return emitted[: place + 1], "eos"
    return emitted, stop_reason


def _commit_columns(row: StepRow, before: Before) -> StepRow:
    """Return what commit records."""
    path = [0, *row["accepted_nodes"].tolist()]
    return {
        "committed_len_after": before.committed_len + len(path),
        "commit_mode": "fast_reorder",
        "commit_fallback": None,
        "prefix_kept": True,
        "kv_digest_after": chain(before.kv_digest, row["kv_row_digests"][path]),
    }
