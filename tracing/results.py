"""Results of the six stages.

They are frozen and hold host arrays (numpy) for what a trace records, and tensors, in the path's own dtype
and device, for what only the judge reads. A field's metadata says how it is recorded (`tracing.fields`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from tracing.fields import recorded, unrecorded
from tracing.models import Tensor

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]
DrawArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilled:
    """Result of prefill.

    Attributes:
        context_token_ids: Prompt and first root, `[L + 1]`.
        logits: Teacher's logits after the last prompt token (the row that chose the root), `[V]`.
        features: Tapped teacher features of every prompt row, `[L, F]`; may be None where F is 0: the
            drafter has no taps.
        expert_ids: Experts that worked on each prompt row, in any order, `[layers, L, E]`; None where the
            model has none or the path does not give them.
    """

    context_token_ids: IntArray = field(metadata=recorded())
    logits: Tensor = field(metadata=unrecorded("tensor", "V"))
    features: Tensor = field(metadata=unrecorded("tensor", "L", "F"))
    expert_ids: IntArray | None = field(default=None, metadata=unrecorded("int", "M", "L", "E"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftLevel:
    """One expansion: B live beams, K candidates each (level 0: the root, B = 1).

    Attributes:
        beam_flat_ids: Flat candidate numbers of the beams that were expanded, best first, equal scores in any
            order, `[B]`; empty at level 0.
        token_ids: Candidate target token ids, best first per beam, equal scores in any order, `[B, K]`.
        scores: Cumulative log-probabilities of the candidates, float32 `[B, K]`.
    """

    beam_flat_ids: IntArray = field(metadata=unrecorded("int", "B"))
    token_ids: IntArray = field(metadata=unrecorded("int", "C", "K"))
    scores: FloatArray = field(metadata=unrecorded("float", "C", "K"))


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

    Candidates with equal scores are interchangeable: any of them may become a beam or a node, as `topk` gives
    them. Only a node whose parent is left out is wrong, even where both score alike.

    Attributes:
        token_ids, parents: `[n]`; node 0 is the root (parent 0).
        depths: Distance of each node from the root, `[n]`.
        logprobs: Cumulative log-probability of each node, float32 `[n]`; 0 for the root.
        flat_ids: Flat candidate number of nodes 1..n-1, `[n - 1]`, ascending.
        levels: All scored candidates, in order of expansion.
        top1_offsets: Distance to the most attended key per node and head, masked int `[n, H]`.
        draft_probs: Draft law's probability of each node's token given its parent, after warping, float32
            `[n]`; 1 for the root.
        draft_law: The whole law that the children of each node were drawn from, `[n, V]`; given by drafters
            that sample, for acceptance rules with a residual.
        proposer: `eagle3`, or another drafter's name.
    """

    token_ids: IntArray = field(metadata=unrecorded("int", "n"))
    parents: IntArray = field(metadata=recorded("draft_parents", "n", place="launch"))
    depths: IntArray | None = field(default=None, metadata=unrecorded("int", "n"))
    logprobs: FloatArray | None = field(default=None, metadata=unrecorded("float", "n"))
    flat_ids: IntArray | None = field(default=None, metadata=unrecorded("int", "n-1"))
    levels: tuple[DraftLevel, ...] | None = field(
        default=None, metadata=recorded("beam_flat_ids", kind="levels", place="row")
    )
    top1_offsets: Any = field(default=None, metadata=recorded("draft_top1_offsets", "n", "H", place="row"))
    draft_probs: FloatArray | None = field(default=None, metadata=recorded("draft_probs", "n", place="row"))
    draft_law: Tensor | None = field(default=None, metadata=unrecorded("tensor", "n", "V"))
    proposer: str = field(default="eagle3", metadata=recorded())

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
        draft_law: That of the draft, `[n, V]`, or None.
    """

    token_ids: IntArray = field(metadata=recorded())
    parents: IntArray = field(metadata=recorded())
    depths: IntArray = field(metadata=recorded())
    valid: BoolArray = field(metadata=recorded())
    position_ids: IntArray = field(metadata=recorded())
    cache_positions: IntArray = field(metadata=recorded())
    visible: BoolArray = field(metadata=recorded(place="launch"))
    logprobs: FloatArray | None = field(default=None, metadata=recorded("draft_logprobs"))
    slots: IntArray | None = field(default=None, metadata=recorded())
    draft_law: Tensor | None = field(default=None, metadata=unrecorded("tensor", "n", "V"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The teacher's results for every node.

    Attributes:
        visible: Tree block read back from what the attention call was given, `[N, N]`.
        prefix_visible: Committed columns visible to each node, `[N]`.
        other_visible: Visible columns outside prefix and tree, `[N]`; must be 0.
        logits: `[N, V]`; the row of node i predicts i's children.
        target_token_ids: Greedy choice after each node, ties to the lower id, `[N]`.
        features: Tapped teacher features, `[N, F]`; may be None where F is 0.
        kernel: Operator, layout, sparse mode, mask dtype and shape, backend; one short line.
        expert_ids: Experts that worked on each node, in any order, `[layers, N, E]`; None where the model has
            none or the path does not give them: what a router's near tie may have changed is then not judged.
        expert_loads: Rows of the launch that each expert got, `[layers, experts]`, or None.
        router_logits: Of each layer's router, over all experts, `[layers, N, experts]`, or None.
    """

    visible: BoolArray = field(metadata=recorded())
    prefix_visible: IntArray = field(metadata=recorded())
    other_visible: IntArray = field(metadata=recorded())
    logits: Tensor = field(metadata=unrecorded("tensor", "N", "V"))
    target_token_ids: IntArray = field(metadata=recorded())
    features: Tensor = field(metadata=unrecorded("tensor", "N", "F"))
    kernel: str = field(default="", metadata=recorded())
    expert_ids: IntArray | None = field(default=None, metadata=recorded())
    expert_loads: IntArray | None = field(default=None, metadata=recorded())
    router_logits: Tensor | None = field(default=None, metadata=unrecorded("tensor", "M", "N", "X"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The accepted path, already cut at EOS and at the token budget.

    Attributes:
        accepted_nodes: Accepted draft nodes, root excluded, `[A]`.
        final_token_id: The token after the accepted path; the next root.
        emitted_token_ids: Accepted tokens, then the final one, `[A + 1]`.
        path_indices: Logical cache positions kept, root then accepted, `[A + 1]`.
        stop_reason: None, `eos` or `length`; a cut token becomes the final one and A shrinks.
        draws: Uniforms that accept took, in order of use, float64 `[D]`; None where nothing was drawn. A
            recorded step has those of its prefill and draft before them.
        recovered_token_id: The final token, before any cut, where it was drawn from what a rejection left.
        target_probs: The teacher's law, after warping, of each node's token given its parent, float32 `[N]`;
            1 for the root, 0 for pads. None in greedy decoding.
        row_temperature, row_top_k, row_top_p: What the sampler was given; None in greedy decoding.
    """

    accepted_nodes: IntArray = field(metadata=recorded())
    final_token_id: int = field(metadata=recorded())
    emitted_token_ids: IntArray = field(metadata=recorded())
    path_indices: IntArray = field(metadata=recorded())
    stop_reason: str | None = field(default=None, metadata=recorded())
    draws: DrawArray | None = field(default=None, metadata=recorded())
    recovered_token_id: int | None = field(default=None, metadata=recorded())
    target_probs: FloatArray | None = field(default=None, metadata=recorded())
    row_temperature: float | None = field(default=None, metadata=recorded())
    row_top_k: int | None = field(default=None, metadata=recorded())
    row_top_p: float | None = field(default=None, metadata=recorded())


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

    committed_len: int = field(metadata=recorded())
    committed_len_after: int = field(metadata=recorded())
    commit_mode: str | None = field(default=None, metadata=recorded())
    commit_fallback: str | None = field(default=None, metadata=recorded())
    prefix_kept: bool | None = field(default=None, metadata=recorded())


RESULT_OF_STAGE: Final[Mapping[str, type]] = {
    "prefill": Prefilled,
    "draft": Drafted,
    "tensorize": Tensorized,
    "verify": Verified,
    "accept": Accepted,
    "commit": Committed,
}
"""Stage to the class of its result."""
