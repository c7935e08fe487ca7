"""The seam: a path is a value, six stages over a private state.

Both of our paths, and a user's own port, are `DecodePath` values. A stage that a path does not provide is
None and is reported as not checked. The results of the stages (`tracing.results`) are importable from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tracing.draws import Draws
from tracing.intermediates import IntermediatesWindow
from tracing.models import ModelPair, Tensor
from tracing.results import (
    Accepted,
    BeamSearch,
    BoolArray,
    Committed,
    Drafted,
    DraftLevel,
    FloatArray,
    IntArray,
    Prefilled,
    Tensorized,
    Verified,
)
from tracing.run_facts import ModelFacts
from tracing.settings import DecodeSettings

__all__ = [
    "Accepted",
    "BeamSearch",
    "BoolArray",
    "Committed",
    "DecodePath",
    "DraftLevel",
    "Drafted",
    "FloatArray",
    "IntArray",
    "KvLengths",
    "KvRows",
    "NullWatch",
    "PathFactory",
    "Prefilled",
    "StageWatch",
    "Stages",
    "State",
    "StaticWindow",
    "Tensorized",
    "Verified",
]

State = Any


class StageWatch(Protocol):
    """Receives what a path reports while it runs: the null watch does nothing, others record or check."""

    def about_to_run(self, stage: str, columns: Mapping[str, Any]) -> None:
        """Called with the inputs of a stage before its kernels are launched.

        Raises:
            LaunchRefusedError: The inputs violate a rule and must not be launched; the path lets it pass.
        """
        ...

    def saw_draft_attention(
        self,
        *,
        flat_ids: IntArray,
        query: Tensor,
        key: Tensor,
        query_positions: Tensor,
        key_positions: Tensor,
        visible: Tensor,
    ) -> None:
        """Called by the drafter at each expansion, with what its attention was given.

        Args:
            flat_ids: Beams whose rows these are, `[B]`; empty for the row that expands the root.
            query: `[H, B, D]` after rotary.
            key: `[H_kv, S, D]` after rotary.
            query_positions: Rotary position of each query, `[B]`.
            key_positions: Rotary position of each key, `[S]`.
            visible: `[B, S]`, True attends.
        """
        ...


class NullWatch:
    """A watch that does nothing."""

    def about_to_run(self, stage: str, columns: Mapping[str, Any]) -> None:
        """Do nothing."""

    def saw_draft_attention(self, **_: Any) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """One step as six functions over the path's state; None where a path does not provide the stage.

    Attributes:
        prefill: `(state, prompt_token_ids[L])`; resets the state to this context. Once a turn.
        draft: `(state)`; the tree under the current root.
        tensorize: `(state, drafted)`.
        verify: `(state, tensorized)`; one forward over all N rows, KV into the branch cache.
        accept: `(state, tensorized, verified, remaining)`; `remaining` tokens may still be emitted.
        commit: `(state, tensorized, verified, accepted)`; the state is then at the next root.
    """

    prefill: Callable[[State, Sequence[int]], Prefilled] | None = None
    draft: Callable[[State], Drafted] | None = None
    tensorize: Callable[[State, Drafted], Tensorized] | None = None
    verify: Callable[[State, Tensorized], Verified] | None = None
    accept: Callable[[State, Tensorized, Verified, int], Accepted] | None = None
    commit: Callable[[State, Tensorized, Verified, Accepted], Committed] | None = None


KvRows = Callable[[State, str, IntArray], Tensor | None]
KvLengths = Callable[[State, str], tuple[int, ...] | None]
StaticWindow = Callable[[State], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodePath:
    """A path: stages, a way to begin, read-only windows on its caches, and facts for the manifest.

    Attributes:
        name: `fused`, `reference`, or a user's name.
        stages: The six stages.
        begin: `(watch)` returns a fresh private state that reports to that watch; `(watch, chooser)` if the
            path declares a chooser.
        chooser: `(draws)` makes the chooser that `begin` gets, see `tracing.sampling`; None for a path that
            is greedy by itself.
        kv_rows: `(state, cache, positions[R])` copies K and V rows of cache `main`, `branch` or
            `drafter` as `[layers, 2, kv_heads, R, D]` in the cache's dtype; None where there is none.
            `main` holds rows 0..L-1; `branch` the L + N rows of the last verify; `drafter` one row per
            committed token, for `eagle3` the pair (feature j, token j + 1).
        kv_lengths: `(state, cache)`: length of each layer, or None.
        snapshot: Copies a state (caches, not weights), so that a stage can be repeated on the copy; None
            means that nondeterminism of this path is not checked.
        static_inputs: `(state)` gives the inputs of verify that a captured graph reads, as they lie in memory
            after a launch: `token_ids`, `position_ids`, `slots`, `block_table`, and the mask as `blocked`:
            True is left out, the tree's columns from L on (`blocked_wW` of layers with a window W). The path
            so declares that each keeps address, shape and strides, and holds its step at every launch. None:
            it declares nothing.
        intermediates: `(state, give)` returns a context manager; while it is entered, the stages of this path
            give the tensors of their networks by name, see `tracing.intermediates`. None: a finding is told
            to its stage, and not to its operator.
        lacks: Trace columns that this path can never have.
        info: Plain data for the manifest: backend, dtype, device, switches.
        model_facts: What is lawful for this path although it would be a fault elsewhere, e.g. the dtype to
            which its cache is rounded; windows are the checkpoint's. None: nothing is.
    """

    name: str
    stages: Stages
    begin: Callable[..., State]
    chooser: Callable[[Draws], Any] | None = None
    kv_rows: KvRows | None = None
    kv_lengths: KvLengths | None = None
    snapshot: Callable[[State], State] | None = None
    static_inputs: StaticWindow | None = None
    intermediates: IntermediatesWindow | None = None
    lacks: frozenset[str] = frozenset()
    info: Mapping[str, Any] = field(default_factory=dict)
    model_facts: ModelFacts | None = None


class PathFactory(Protocol):
    """What `--fused package.module:factory` names."""

    def __call__(
        self, pair: ModelPair, settings: DecodeSettings, /, *, device: str, dtype: str
    ) -> DecodePath:
        """Build a path over the given weights; the weights are never changed.

        A factory may take `eager`, the names of operators to run as plain torch (`EAGER_OPERATORS` of
        `tracing.settings`); what it does not have it may leave out. Then `--eager` works for it, and
        `specwb locate --swap`.
        """
        ...
