"""Random trees and a plain driver for tests of the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reference.tensorize import ancestry
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, Drafted, NullWatch, Tensorized


def random_tree(
    random: np.random.Generator, num_nodes: int, num_rows: int, prefix: int, vocab: int
) -> Tensorized:
    """A tree with any shape whose parents come first, then pads."""
    parents = [0, *(int(random.integers(0, node)) for node in range(1, num_nodes))]
    depths = [0]
    for node in range(1, num_nodes):
        depths.append(depths[parents[node]] + 1)
    num_pads = num_rows - num_nodes
    return Tensorized(
        token_ids=random.integers(0, vocab, num_rows).astype(np.int64),
        parents=np.array(parents + [0] * num_pads),
        depths=np.array(depths + [0] * num_pads),
        valid=np.arange(num_rows) < num_nodes,
        logprobs=np.zeros(num_rows, dtype=np.float32),
        position_ids=prefix + np.array(depths + [0] * num_pads),
        cache_positions=prefix + np.arange(num_rows),
        visible=ancestry(parents, num_rows),
    )


def drafted_tree(token_ids: Sequence[int], parents: Sequence[int]) -> Drafted:
    """A drafted tree that was not searched for."""
    depths = [0]
    for node in range(1, len(parents)):
        depths.append(depths[parents[node]] + 1)
    return Drafted(
        token_ids=np.array(token_ids),
        parents=np.array(parents),
        depths=np.array(depths),
        logprobs=np.zeros(len(parents), dtype=np.float32),
        flat_ids=np.arange(len(parents) - 1),
        levels=(),
    )


def decode(
    path: DecodePath, prompt: Sequence[int], settings: DecodeSettings, eos: Sequence[int] = ()
) -> tuple[list[int], list[int]]:
    """Run a path to the end; returns the tokens and the accepted draft nodes of each step."""
    stages, state = path.stages, path.begin(NullWatch())
    emitted = [int(stages.prefill(state, prompt).context_token_ids[-1])]
    accepted_counts: list[int] = []
    while len(emitted) < settings.max_new_tokens and emitted[-1] not in eos:
        tree = stages.tensorize(state, stages.draft(state))
        verified = stages.verify(state, tree)
        accepted = stages.accept(state, tree, verified, settings.max_new_tokens - len(emitted))
        committed = stages.commit(state, tree, verified, accepted)
        assert committed.committed_len_after == committed.committed_len + len(accepted.path_indices)
        emitted += accepted.emitted_token_ids.tolist()
        accepted_counts.append(len(accepted.accepted_nodes))
        ended = len(emitted) == settings.max_new_tokens or emitted[-1] in eos
        assert (accepted.stop_reason is not None) == ended
    return emitted, accepted_counts
