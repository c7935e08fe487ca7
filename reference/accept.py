"""Acceptance: follow the teacher's choices down the tree, or a chooser's, and cut the path."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from tracing.errors import UsageError
from tracing.sampling import Choice
from tracing.stages import Accepted, IntArray, Tensorized


def accept(
    tensorized: Tensorized,
    target_token_ids: IntArray,
    remaining: int,
    eos_token_ids: Collection[int],
    choice: Choice | None = None,
) -> Accepted:
    """Walk from the root, always to the child whose token is the teacher's choice after the node.

    Among children with the same token the lowest node wins. The path is then cut so that at most
    `remaining` tokens come out and nothing follows an end-of-sequence token; the last token left is the
    final one.

    Args:
        tensorized: The tree.
        target_token_ids: Teacher's choice after each node, `[N]`.
        remaining: Tokens that may still be emitted, at least 1.
        eos_token_ids: Tokens that end a turn.
        choice: A chooser's path and final token, to be cut in place of the walk's.

    Raises:
        UsageError: `remaining` below 1.
    """
    if remaining < 1:
        raise UsageError(
            f"remaining should be at least 1, got {remaining}; the turn has ended before this step"
        )
    path = walk(tensorized, target_token_ids) if choice is None else choice.path.tolist()
    final_token_id = int(target_token_ids[path[-1]]) if choice is None else choice.final_token_id
    emitted = [int(tensorized.token_ids[node]) for node in path[1:]] + [final_token_id]
    emitted, stop_reason = cut(emitted, remaining, eos_token_ids)
    kept = path[: len(emitted)]
    chosen = Choice(np.array(path), final_token_id) if choice is None else choice
    return Accepted(
        accepted_nodes=np.array(kept[1:], dtype=np.int64),
        final_token_id=emitted[-1],
        emitted_token_ids=np.array(emitted, dtype=np.int64),
        path_indices=tensorized.cache_positions[kept],
        stop_reason=stop_reason,
        draws=chosen.draws,
        recovered_token_id=chosen.recovered_token_id,
        target_probs=chosen.target_probs,
        **chosen.given,
    )


def walk(tensorized: Tensorized, target_token_ids: IntArray) -> list[int]:
    """Return the root and the accepted nodes, uncut."""
    path = [0]
    while True:
        child = _child(tensorized, path[-1], int(target_token_ids[path[-1]]))
        if child is None:
            return path
        path.append(child)


def _child(tensorized: Tensorized, node: int, token_id: int) -> int | None:
    for child in range(1, len(tensorized.token_ids)):
        if (
            tensorized.valid[child]
            and tensorized.parents[child] == node
            and tensorized.token_ids[child] == token_id
        ):
            return child
    return None


def cut(
    emitted: Sequence[int], remaining: int, eos_token_ids: Collection[int]
) -> tuple[list[int], str | None]:
    """Return the tokens up to the first end of sequence and at most `remaining`, and why the turn stops."""
    kept: list[int] = []
    for token_id in emitted:
        kept.append(token_id)
        if token_id in eos_token_ids:
            return kept, "eos"
        if len(kept) == remaining:
            return kept, "length"
    return kept, None
