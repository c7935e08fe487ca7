"""A port with one stage of its own: `specwb diff --fused examples.partial_port:factory --prompt FILE`.

Somebody who ports EAGLE-3 may have a vectorised acceptance ready before any kernel. This path provides just
that; the other stages are done by the reference and reported as not checked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import Accepted, BoolArray, DecodePath, IntArray, Stages, StageWatch, Tensorized, Verified


@dataclass
class PortState:
    """What the port remembers between stages: nothing but whom to tell before it launches a kernel.

    Attributes:
        watch: Told before anything is launched; this port launches nothing.
    """

    watch: StageWatch


def factory(pair: ModelPair, _settings: DecodeSettings, *, device: str, dtype: str) -> DecodePath:
    """Build the path; see `tracing.stages.PathFactory`."""
    port = Port(pair.eos_token_ids)
    return DecodePath(
        name="partial-port",
        stages=Stages(accept=port.accept),
        begin=PortState,
        info={"device": device, "dtype": "float32" if dtype == "auto" else dtype},
    )


class Port:
    """The stages of this port."""

    def __init__(self, eos_token_ids: frozenset[int]) -> None:
        self.eos_token_ids = eos_token_ids

    def accept(
        self, _state: PortState, tensorized: Tensorized, verified: Verified, remaining: int
    ) -> Accepted:
        """Score every root-to-node path at once, as vectorised ports do, and keep the longest match."""
        matches = self._matches(tensorized, verified)
        alive = np.where(tensorized.visible, matches[None, :], True).all(axis=1) & tensorized.valid
        last = int(np.argmax(np.where(alive, tensorized.depths, -1)))
        path = np.flatnonzero(tensorized.visible[last])
        emitted = np.append(tensorized.token_ids[path[1:]], verified.target_token_ids[last])
        emitted, stop_reason = self._cut(emitted, remaining)
        kept = path[: len(emitted)]
        return Accepted(
            accepted_nodes=kept[1:],
            final_token_id=int(emitted[-1]),
            emitted_token_ids=emitted,
            path_indices=tensorized.cache_positions[kept],
            stop_reason=stop_reason,
        )

    def _matches(self, tensorized: Tensorized, verified: Verified) -> BoolArray:
        """Each node's token against the teacher's choice after its parent, `[N]`; the root always matches."""
        matches: BoolArray = tensorized.token_ids == verified.target_token_ids[tensorized.parents]
        matches[0] = True
        return matches

    def _cut(self, emitted: IntArray, remaining: int) -> tuple[IntArray, str | None]:
        ends = np.flatnonzero(np.isin(emitted, list(self.eos_token_ids)))
        if ends.size and ends[0] < remaining:
            return emitted[: ends[0] + 1], "eos"
        return emitted[:remaining], "length" if len(emitted) >= remaining else None
