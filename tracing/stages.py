"""The seam: a path is a value, six stages over a private state (DESIGN section 3).

Both of our paths, and a user's own port, are `DecodePath` values. Stage results are frozen and hold
host arrays (numpy) for what a trace records, and tensors, in the path's own dtype and device, for what
only the judge reads. A stage that a path does not provide is None and is reported as not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from tracing.draws import Draws
from tracing.models import ModelPair, Tensor
from tracing.settings import DecodeSettings

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]
State = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilled:
    """Result of prefill.

    Attributes:
        context_token_ids: Prompt and first root, `[L + 1]`.
        logits: Teacher's logits after the last prompt token (the row that chose the root), `[V]`.
        features: Tapped teacher features of every prompt row, `[L, 3 * H_target]`, low to high.
    """

    context_token_ids: IntArray
    logits: Tensor
    features: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftLevel:
    """One expansion: B live beams, K candidates each (level 0: the root, B = 1).

    Attributes:
        beam_flat_ids: Flat candidate numbers of the beams that were expanded, `[B]`; empty at level 0.
        token_ids: Candidate target token ids, best first per beam, `[B, K]`.
        scores: Cumulative log-probabilities of the candidates, float32 `[B, K]`.
    """

    beam_flat_ids: IntArray
    token_ids: IntArray
    scores: FloatArray


class BeamSearch(Protocol):
    """A draft with the whole record of its beam search; see `Drafted` for the fields."""

    token_ids: IntArray
    parents: IntArray
    depths: IntArray
    logprobs: FloatArray
    flat_ids: IntArray
    levels: tuple[DraftLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """The drafted tree: n <= N nodes, parents before children, root first; the root alone is a legal draft.

    Tokens and parents are the tree; the other fields are None where the drafter does not have them, and are
    recorded and judged only where they are given. `flat_ids` and `levels` are the record of a beam search:
    nodes then come in ascending flat candidate number. Flat numbers: level 0 candidates are `0 .. K-1`;
    candidate `rank` of beam `b` of level `l >= 1` is `K + (l - 1) * K * K + b * K + rank` (order of the
    official EAGLE-3 algorithm).

    Attributes:
        token_ids, parents: `[n]`; node 0 is the root (parent 0).
        depths: Distance of each node from the root, `[n]`.
        logprobs: Cumulative log-probability of each node, float32 `[n]`; 0 for the root.
        flat_ids: Flat candidate number of nodes 1..n-1, `[n - 1]`, ascending.
        levels: All scored candidates, in order of expansion.
        top1_offsets: Distance to the most attended key per node and head, masked int `[n, H]`.
        draft_probs: Draft law's probability of each node's token given its parent, after warping, float32
            `[n]`; 1 for the root.
        proposer: `eagle3`, or another drafter's name.
    """

    token_ids: IntArray
    parents: IntArray
    depths: IntArray | None = None
    logprobs: FloatArray | None = None
    flat_ids: IntArray | None = None
    levels: tuple[DraftLevel, ...] | None = None
    top1_offsets: Any = None
    draft_probs: FloatArray | None = None
    proposer: str = "eagle3"

    def beam_search(self) -> BeamSearch | None:
        """Return this draft as the record of a beam search, None where part of that record is not given."""
        others = (self.depths, self.logprobs, self.flat_ids)
        is_whole = self.levels and not any(each is None for each in others)
        return cast("BeamSearch", self) if is_whole else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensorized:
    """The static arrays of one step: N rows, valid nodes first, then pads.

    Attributes:
        token_ids, parents, depths: `[N]`; pads have parent 0, depth 0 and a legal token id.
        valid: False for pads, `[N]`.
        logprobs: float32 `[N]`; pads 0; None where the draft gives none.
        position_ids: Rotary positions L + depth, `[N]`; pads L.
        cache_positions: Logical KV positions L + i, `[N]`.
        visible: `visible[query, key]`, True attends, tree block only, `[N, N]`; pads False in and out.
        slots: Physical slots `[N]` of a paged cache, or None.
    """

    token_ids: IntArray
    parents: IntArray
    depths: IntArray
    valid: BoolArray
    position_ids: IntArray
    cache_positions: IntArray
    visible: BoolArray
    logprobs: FloatArray | None = None
    slots: IntArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What the teacher said about every node.

    Attributes:
        visible: Tree block read back from what the attention call was given, `[N, N]`.
        prefix_visible: Committed columns visible to each node, `[N]`.
        other_visible: Visible columns outside prefix and tree, `[N]`; must be 0.
        logits: `[N, V]`; the row of node i predicts i's children.
        target_token_ids: Greedy choice after each node, ties to the lower id, `[N]`.
        features: Tapped teacher features, `[N, 3 * H_target]`.
        kernel: Operator, layout, sparse mode, mask dtype and shape, way in; one short line.
    """

    visible: BoolArray
    prefix_visible: IntArray
    other_visible: IntArray
    logits: Tensor
    target_token_ids: IntArray
    features: Tensor
    kernel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The accepted path, already cut at EOS and at the token budget.

    Attributes:
        accepted_nodes: Accepted draft nodes, root excluded, `[A]`.
        final_token_id: The token after the accepted path; the next root.
        emitted_token_ids: Accepted tokens, then the final one, `[A + 1]`.
        path_indices: Logical cache positions kept, root then accepted, `[A + 1]`.
        stop_reason: None, `eos` or `length`; a cut token becomes the final one and A shrinks.
        draws: Recorded uniforms in the order of their use, float32 `[*]`; None where nothing was drawn.
    """

    accepted_nodes: IntArray
    final_token_id: int
    emitted_token_ids: IntArray
    path_indices: IntArray
    stop_reason: str | None = None
    draws: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What commit did.

    Attributes:
        committed_len: L before the step.
        committed_len_after: L + A + 1.
        commit_mode: What ran: `length`, `full_reorder`, `fast_reorder`; None without a cache.
        commit_fallback: Why the asked mode did not run, or None.
        prefix_kept: Positions 0..L-1 kept in order; None without a cache.
    """

    committed_len: int
    committed_len_after: int
    commit_mode: str | None = None
    commit_fallback: str | None = None
    prefix_kept: bool | None = None


class StageWatch(Protocol):
    """What a path tells while it runs; the null watch does nothing, a recorder or a checker more."""

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
    """The watch of a path that nobody watches."""

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
        commit: `(state, tensorized, verified, accepted)`; the state then stands at the next root.
    """

    prefill: Callable[[State, Sequence[int]], Prefilled] | None = None
    draft: Callable[[State], Drafted] | None = None
    tensorize: Callable[[State, Drafted], Tensorized] | None = None
    verify: Callable[[State, Tensorized], Verified] | None = None
    accept: Callable[[State, Tensorized, Verified, int], Accepted] | None = None
    commit: Callable[[State, Tensorized, Verified, Accepted], Committed] | None = None


KvRows = Callable[[State, str, IntArray], Tensor | None]
KvLengths = Callable[[State, str], tuple[int, ...] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodePath:
    """A path: stages, a way to begin, read-only windows on its caches, and what it says of itself.

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
        lacks: Trace columns that this path can never have.
        info: Plain data for the manifest: way in, dtype, device, switches.
    """

    name: str
    stages: Stages
    begin: Callable[..., State]
    chooser: Callable[[Draws], Any] | None = None
    kv_rows: KvRows | None = None
    kv_lengths: KvLengths | None = None
    snapshot: Callable[[State], State] | None = None
    lacks: frozenset[str] = frozenset()
    info: Mapping[str, Any] = field(default_factory=dict)


class PathFactory(Protocol):
    """What `--fused package.module:factory` names."""

    def __call__(
        self, pair: ModelPair, settings: DecodeSettings, /, *, device: str, dtype: str
    ) -> DecodePath:
        """Build a path over the given weights; the weights are never changed."""
        ...
