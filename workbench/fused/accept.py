"""Accept: the drafted path that the teacher takes, greedily or by the state's chooser."""

from __future__ import annotations

import numpy as np

from tracing.errors import UsageError
from tracing.sampling import Choice
from tracing.stages import Accepted, IntArray, Tensorized, Verified
from workbench.fused.engine import Engine
from workbench.fused.state import FusedState


def accept(
    engine: Engine, state: FusedState, tree: Tensorized, verified: Verified, remaining: int
) -> Accepted:
    """Return the accepted path, cut at the token budget and at EOS.

    Raises:
        UsageError: No token may be emitted any more.
    """
    if remaining < 1:
        raise UsageError(f"accept needs room for at least 1 token, got remaining={remaining}")
    columns = {"committed_len": state.committed_len, "target_token_ids": verified.target_token_ids}
    state.watch.about_to_run("accept", columns)
    choice = _chosen(engine, state, tree, verified)
    path = choice.path
    emitted = np.append(tree.token_ids[path[1:]], choice.final_token_id)[:remaining]
    ends = [place for place, token_id in enumerate(emitted.tolist()) if token_id in engine.eos_token_ids]
    stop_reason = None
    if ends:
        emitted, stop_reason = emitted[: ends[0] + 1], "eos"
    elif len(emitted) == remaining:
        stop_reason = "length"
    path = path[: len(emitted)]
    return Accepted(
        accepted_nodes=path[1:],
        final_token_id=int(emitted[-1]),
        emitted_token_ids=emitted,
        path_indices=tree.cache_positions[path],
        stop_reason=stop_reason,
        draws=choice.draws,
        recovered_token_id=choice.recovered_token_id,
        target_probs=choice.target_probs,
        **choice.given,
    )


def _chosen(engine: Engine, state: FusedState, tree: Tensorized, verified: Verified) -> Choice:
    """Return the uncut path and the token after it."""
    if state.chooser is not None:
        return state.chooser.accept(tree, verified)
    chosen, static = verified.target_token_ids, engine.static_tree
    if static is not None and int(tree.valid.sum()) == static.num_nodes:
        path = static.accepted(tree.token_ids[: static.num_nodes], chosen[: static.num_nodes])
    else:
        path = accepted_path(tree, chosen)
    return Choice(path, int(verified.target_token_ids[path[-1]]))


def accepted_path(tree: Tensorized, target_token_ids: IntArray) -> IntArray:
    """Return the root and the nodes accepted below it, int64 `[A + 1]`; of equal siblings the first."""
    token_ids, parents = tree.token_ids.tolist(), tree.parents.tolist()
    chosen, path = target_token_ids.tolist(), [0]
    for node in np.flatnonzero(tree.valid).tolist():  # a node comes after its parent, whatever is in the tree
        if node > path[-1] and parents[node] == path[-1] and token_ids[node] == chosen[path[-1]]:
            path.append(node)
    return np.array(path, dtype=np.int64)
