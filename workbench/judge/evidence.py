"""What the judge compares: one step as plain numpy arrays, stage by stage.

Letters: N tree nodes with pads, n valid nodes, L committed tokens before the step, A accepted draft
nodes, V teacher vocabulary, Vd draft vocabulary, H hidden width, D head dim, B beams, K candidates per
beam, R rows of a quantity. `bfloat16` comes widened to float32; the tested path's dtype is given by name.
A field that a path cannot provide is None: it is not checked, and never counts as equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from numpy.typing import NDArray

from tracing.moment import Moment
from tracing.run_facts import ModelFacts
from tracing.settings import DecodeSettings
from tracing.stages import Accepted, BoolArray, Committed, Drafted, IntArray, Tensorized, Verified
from workbench.judge.draw_ties import DrawTie
from workbench.judge.row_truth import RoutingTruth, RowTruth
from workbench.judge.typical import Typical

Array = NDArray[Any]
"""Floats of any width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillEvidence:
    """Prefill, once a turn; all rebuilt by the reference from the prompt ids.

    Attributes:
        prompt_token_ids: What both paths were given, `[L]`.
        is_greedy: False where a draw chose the root: the reference's, by the path's own logits, is the law.
        draws, num_draws: Uniforms that the fused prefill took, and how many the reference took for the root.
        draw_ties: The sampled root, where only rounding explains it.
        fused_context_token_ids, reference_context_token_ids: Prompt and root as each path has it, `[L + 1]`.
        logits: The row that chose the root, `[V]` or `[1, V]`.
        features: Tapped teacher features, `[L, 3H]`, low to high.
        kv: Committed K and V of the main cache, `[layers, 2, kv_heads, L, D]`, K after rotary.
        routing: Which experts worked on each position; None for a model without.
        absent: Quantities that no path of this run has, as its drafter has none: they are not looked for.
    """

    prompt_token_ids: IntArray
    is_greedy: bool = True
    draws: Array | None = None
    num_draws: int = 0
    draw_ties: tuple[DrawTie, ...] = ()
    fused_context_token_ids: IntArray | None = None
    reference_context_token_ids: IntArray | None = None
    logits: RowTruth | None = None
    features: RowTruth | None = None
    kv: RowTruth | None = None
    routing: RoutingTruth | None = None
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelTruth:
    """The reference's log-probabilities of one expansion, at the beams that the fused path expanded.

    Attributes:
        truth: Log-softmax over the draft vocabulary, one row per fused beam, `[B, Vd]`, not cumulative.
        samples: The same at the path's dtype (log-softmax in float32), permuted orders, each `[B, Vd]`.
        arbiter: Beam number in this level to the row by drafter replay, `[Vd]`.
        typical: As of `RowTruth`; one group.
    """

    truth: Array
    samples: tuple[Array, ...] = ()
    arbiter: Mapping[int, Array] = field(default_factory=dict)
    typical: Typical | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTruth:
    """The reference's rows for a draft that shows no search, one row per expansion (G of them).

    Attributes:
        rows: Log-probabilities over the draft vocabulary, `[G, Vd]`, not cumulative.
        row_of: Row that each node was proposed from, int `[n]`; the root's own is ignored.
        law: Probabilities that tokens are drawn from, `[G, Vd]`; None where nothing is drawn.
        parents: Those of a static tree, int `[n]`; None where the tree may be any.
        ranks: Rank of each node's token in its row, int `[n]`; None where it may be any.
    """

    rows: LevelTruth
    row_of: IntArray
    law: LevelTruth | None = None
    parents: IntArray | None = None
    ranks: IntArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftEvidence:
    """One draft: what was scored, kept and selected.

    Attributes:
        settings: tree_nodes, depth and top_k are used.
        root_token_id: The token both paths drafted under.
        target_from_draft: Target token id of each draft token id, `[Vd]`.
        fused: The fused draft with all its levels.
        proposal: The reference's own draft, where tokens alone decide it and a path has to draft the same.
        levels: The reference's log-probabilities, one per level of `fused`; empty: scores not checked.
        nodes: The same of a draft that shows no search; None: scores not checked.
        draws, num_draws: Uniforms that the draft took, and how many the reference takes; None: not known.
        kv: Drafter K and V of the rows this draft computed from teacher features,
            `[layers, 2, kv_heads, R, D]`; `rows` names their positions.
        committed_len, kv_lengths: L, and the length of each layer of the drafter's cache after the draft.
        absent: Quantities that no path of this run has, as its drafter has none: they are not looked for.
    """

    settings: DecodeSettings
    root_token_id: int | None = None
    target_from_draft: IntArray | None = None
    fused: Drafted | None = None
    proposal: Drafted | None = None
    levels: tuple[LevelTruth, ...] = ()
    nodes: NodeTruth | None = None
    draws: Array | None = None
    num_draws: int | None = None
    kv: RowTruth | None = None
    committed_len: int | None = None
    kv_lengths: tuple[int, ...] | None = None
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorizeEvidence:
    """The static arrays of the step; all exact.

    Attributes:
        committed_len, num_nodes: L, and N, the padded size both paths were asked for.
        vocab_size: V, for pads' token ids; None: only negative ids are refused.
        drafted: The fused draft that was fed to both paths; None: only the derived arrays are judged.
        fused, reference: What each path built.
        rotary_offset: What may be added to every position, or None where that is not known.
    """

    committed_len: int
    num_nodes: int
    vocab_size: int | None = None
    drafted: Drafted | None = None
    fused: Tensorized | None = None
    reference: Tensorized | None = None
    rotary_offset: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySide:
    """The exact results of verify on one path; None where the path does not give them.

    Attributes:
        visible: Tree block read back from what the attention call was given, bool `[N, N]`.
        prefix_visible, other_visible: Visible committed columns, and those outside prefix and tree, `[N]`.
        target_token_ids: Greedy choice after each node, `[N]`.
    """

    visible: BoolArray | None = None
    prefix_visible: IntArray | None = None
    other_visible: IntArray | None = None
    target_token_ids: IntArray | None = None

    @classmethod
    def of(cls, verified: Verified) -> VerifySide:
        """Return the exact results among those of verify."""
        return cls(**{each.name: getattr(verified, each.name) for each in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyEvidence:
    """One forward over the tree.

    Attributes:
        committed_len: L.
        valid: Which rows are nodes, `[N]`; only these are judged.
        built_visible: `visible` as tensorize built it (fused path), `[N, N]`.
        depths, model_facts: Each position less L, `[N]`, and what the shown layer lets a node see, or None.
        constrained: Nodes whose choice may be another than the best of the logits, `[N]`; None: no node's.
        fused, reference: Exact results of each path.
        logits: `[N, V]` (or fewer rows, named by `rows`).
        features: `[N, 3H]`.
        kv: Post-rotary K and V of each node, `[layers, 2, kv_heads, N, D]`; `rows` are node numbers.
        routing: Which experts worked on each node; None for a model without.
        rows_before, rows_after: Digests of the main cache's rows before and after the forward, `[L]`.
        absent: Quantities that no path of this run has, as its drafter has none: they are not looked for.
    """

    committed_len: int
    valid: BoolArray
    built_visible: BoolArray | None = None
    depths: IntArray | None = None
    model_facts: ModelFacts | None = None
    constrained: BoolArray | None = None
    fused: VerifySide = field(default_factory=VerifySide)
    reference: VerifySide | None = None
    logits: RowTruth | None = None
    features: RowTruth | None = None
    kv: RowTruth | None = None
    routing: RoutingTruth | None = None
    rows_before: Array | None = None
    rows_after: Array | None = None
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptEvidence:
    """Acceptance over the fused tree and the fused choices; all exact.

    Attributes:
        committed_len: L.
        tree: As tensorize built it.
        target_token_ids: The fused choices, `[N]`.
        remaining: Tokens that the turn may still emit, this step's included.
        eos_token_ids: Tokens that end a turn.
        is_greedy: False where draws decide: `reference` is then the law, over the same logits and draws.
        draws: Uniforms that the fused accept took; compared in number with those of `reference`.
        records_stop_reason: False where the recording gives no stop reason at all; none is then missing.
        draw_ties: Decisions of the fused path that only rounding explains; `reference` then follows them.
        fused, reference: What each path accepted.
    """

    committed_len: int
    tree: Tensorized
    target_token_ids: IntArray
    remaining: int
    eos_token_ids: frozenset[int] = frozenset()
    is_greedy: bool = True
    draws: Array | None = None
    records_stop_reason: bool = True
    draw_ties: tuple[DrawTie, ...] = ()
    fused: Accepted | None = None
    reference: Accepted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitEvidence:
    """What commit did to one path's own cache; all bit-exact.

    K and V rows come as `[layers, 2, kv_heads, R, D]` of any dtype (compared by bytes), or as one digest per
    row, uint64 `[R]`; the three arrays must be of one kind.

    Attributes:
        committed_len: L.
        path_indices: Logical positions accept asked to keep, `[A + 1]`, each in `L .. L + N - 1`.
        committed: What the commit stage reported.
        rows_before: Main cache before verify, R = L.
        branch_rows: Branch cache after verify, tree rows only, R = N (row i is node i).
        rows_after: Main cache after commit, R = its length.
        lengths_after: Length of each layer of the main cache after commit.
    """

    committed_len: int
    path_indices: IntArray
    committed: Committed | None = None
    rows_before: Array | None = None
    branch_rows: Array | None = None
    rows_after: Array | None = None
    lengths_after: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvidence:
    """One step of one run; a stage that was not recorded is None and is reported as not checked.

    Attributes:
        moment: prompt, turn and step (stage and node are ignored).
        dtype: The tested path's dtype: `float32`, `bfloat16` or `float16`.
        prefill: Only on a turn's first step; None elsewhere is no omission.
        missing: Stage to the reason why it, or the reference's part of it, is not there, for the report.
        block_size: Tokens per cache block, to count steps that cross a block boundary.
        walked: Acceptance as it went, whoever accepted; what a step exercised is counted by it.
    """

    moment: Moment
    dtype: str = "float32"
    prefill: PrefillEvidence | None = None
    draft: DraftEvidence | None = None
    tensorize: TensorizeEvidence | None = None
    verify: VerifyEvidence | None = None
    accept: AcceptEvidence | None = None
    commit: CommitEvidence | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    block_size: int = 128
    walked: AcceptEvidence | None = None
