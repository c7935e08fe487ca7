"""A path under test: `specwb diff --prompt prompt.txt --fused port:factory`.

`STAGES` names what is yours so far; the reference does the rest, and the report says so. Port one stage
(prefill, verify and commit together), add its name, run the command, and go on when it says ok. What a stage
takes and returns stands in `tracing.stages` and `tracing.results`, with shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import (
    Accepted,
    Committed,
    DecodePath,
    Drafted,
    NullWatch,
    Prefilled,
    Stages,
    StageWatch,
    Tensorized,
    Verified,
)

STAGES = ("accept",)
"""Of prefill, draft, tensorize, verify, accept, commit: those that are done."""


@dataclass
class PortState:
    """What one request holds: caches, committed tokens, the root.

    Attributes:
        watch: Told, before each launch, what is about to run.
        tokens: Committed token ids, L of them.
        root: The token at position L, not in the cache yet.
    """

    watch: StageWatch
    tokens: list[int] = field(default_factory=list)
    root: int = 0


def factory(pair: ModelPair, settings: DecodeSettings, *, device: str, dtype: str) -> DecodePath:
    """Build the path over the loaded weights, which are never changed; called once."""
    port = Port(pair, settings)
    return DecodePath(
        name="my-port",
        stages=Stages(**{name: getattr(port, name) for name in STAGES}),
        begin=PortState,
        snapshot=port.snapshot,
        # Windows on the caches: with them a cache bug is named at commit, without at a later verify.
        # kv_rows=port.kv_rows,
        # kv_lengths=port.kv_lengths,
        lacks=frozenset({"slots", "draft_top1_offsets"}),  # columns that this path can never have
        info={"device": device, "dtype": "float32" if dtype == "auto" else dtype},
    )


class Port:
    """The stages. Weights are `pair.teacher_weights` and `pair.drafter_weights`, by canonical key."""

    def __init__(self, pair: ModelPair, settings: DecodeSettings) -> None:
        self.pair = pair
        self.settings = settings

    def snapshot(self, state: PortState) -> PortState:
        """Copy a state, caches included, so that a stage can be repeated on the copy."""
        return replace(state, watch=NullWatch(), tokens=list(state.tokens))

    def prefill(self, state: PortState, prompt: Sequence[int]) -> Prefilled:
        """Run the teacher over the prompt, fill the cache, choose the first root. Once a turn."""
        raise NotImplementedError

    def draft(self, state: PortState) -> Drafted:
        """Propose a tree below the root: tokens and parents of each node, parents first, node 0 the root."""
        raise NotImplementedError

    def tensorize(self, state: PortState, drafted: Drafted) -> Tensorized:
        """Lay the tree out in rows: padded arrays, positions L + depth, who attends to whom."""
        raise NotImplementedError

    def verify(self, state: PortState, tree: Tensorized) -> Verified:
        """Run the teacher over all rows at once, row i into cache row L + i.

        It attends to the L committed rows and to `tree.visible[i]`; report the mask as attention is given it.
        """
        state.watch.about_to_run("verify", {"committed_len": len(state.tokens), "token_ids": tree.token_ids})
        raise NotImplementedError

    def accept(self, _state: PortState, tree: Tensorized, verified: Verified, remaining: int) -> Accepted:
        """Walk from the root to the child that the teacher chose, as long as there is one."""
        path = [0]
        while children := self._chosen_children(tree, verified, path[-1]):
            path.append(children[0])
        tokens = [*tree.token_ids[path[1:]].tolist(), int(verified.target_token_ids[path[-1]])]
        emitted, stop_reason = self._cut(tokens, remaining)
        kept = path[: len(emitted)]
        return Accepted(
            accepted_nodes=np.array(kept[1:], dtype=np.int64),
            final_token_id=emitted[-1],
            emitted_token_ids=np.array(emitted),
            path_indices=tree.cache_positions[kept],
            stop_reason=stop_reason,
        )

    def commit(self, state: PortState, tree: Tensorized, verified: Verified, accepted: Accepted) -> Committed:
        """Keep the cache rows `accepted.path_indices`; the next root is `accepted.final_token_id`."""
        raise NotImplementedError

    def _chosen_children(self, tree: Tensorized, verified: Verified, node: int) -> list[int]:
        fits = (tree.parents == node) & (tree.token_ids == verified.target_token_ids[node]) & tree.valid
        return [int(each) for each in np.flatnonzero(fits) if each]

    def _cut(self, tokens: list[int], remaining: int) -> tuple[list[int], str | None]:
        """Cut at the end of the sequence and at what may still be emitted."""
        for place, token in enumerate(tokens[:remaining]):
            if token in self.pair.eos_token_ids:
                return tokens[: place + 1], "eos"
        return tokens[:remaining], "length" if len(tokens) >= remaining else None

    def kv_rows(self, state: PortState, cache: str, positions: Any) -> Any:
        """Copy rows of cache `main`, `branch` or `drafter`: `[layers, 2, kv_heads, len(positions), D]`."""
        raise NotImplementedError

    def kv_lengths(self, state: PortState, cache: str) -> tuple[int, ...]:
        """Return the length of each layer of a cache: L of `main`, L + N of `branch` after verify."""
        raise NotImplementedError
