"""One recorded step of two paths as the judge's evidence; what the trace lacks is listed, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from invariants.ancestry import ancestor_or_self, path_to_root
from invariants.constraint import ALTERED, CONSTRAINT, may_be_constrained, unconstrained
from invariants.laws import sampling_of
from invariants.rotary import declared_offset
from invariants.rule import NotApplicableError
from tracing.codec import required_columns, result_of_row
from tracing.moment import Moment
from tracing.run_facts import ModelFacts, RequestLimits, SamplingSettings, limits_of
from tracing.stages import Accepted, BoolArray, Committed, Tensorized, Verified
from workbench.judge.evidence import (
    AcceptEvidence,
    CommitEvidence,
    PrefillEvidence,
    StepEvidence,
    TensorizeEvidence,
    VerifyEvidence,
    VerifySide,
)
from workbench.judge.turn_state import TurnState, discarded_of

Row = Mapping[str, Any]
TREE: Final = required_columns(Tensorized)
ACCEPT: Final = required_columns(Accepted)
NO_DRAFT: Final = "candidate scores are not in the trace"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFacts:
    """Facts of the whole run.

    Attributes:
        dtype: The tested path's dtype by name.
        eos_token_ids: Tokens that end a turn, or None where not known.
        vocab_size: V, or None.
        block_size: Tokens per cache block.
        is_greedy: Whether no token was chosen by chance.
        root_is_prompt: The first root of a turn is the prompt's last token, which no path chose.
        model_facts: What is lawful for the model, or None where not known.
        request_offsets: Rotary offsets of requests that have one of their own, by request id.
        records_stop_reason: False where no step of the run gives a stop reason.
        request_limits: Where requests end, by request id.
        request_sampling: How requests choose, likewise.
    """

    dtype: str = "float32"
    eos_token_ids: frozenset[int] | None = None
    vocab_size: int | None = None
    block_size: int = 128
    is_greedy: bool = True
    root_is_prompt: bool = False
    model_facts: ModelFacts | None = None
    request_offsets: Mapping[str, int] = field(default_factory=dict)
    records_stop_reason: bool = True
    request_limits: Mapping[str, RequestLimits] = field(default_factory=dict)
    request_sampling: Mapping[str, SamplingSettings] = field(default_factory=dict)

    def is_greedy_at(self, row: Row) -> bool:
        """Whether the request of a row chooses greedily; the run says it where its request does not."""
        stated = sampling_of(self.request_sampling, row.get("request_id"))
        if stated is not None:
            return stated.temperature == 0
        return self.is_greedy and not row.get("row_temperature")


def recorded_evidence(row: Row, other: Row | None, state: TurnState, facts: RecordedFacts) -> StepEvidence:
    """Return two recorded rows of one step as evidence.

    Args:
        row: The tested path's step.
        other: The other path's step, or None where it has none.
        state: Of the turn before the step.
        facts: Facts of the run.
    """
    missing = {"draft": NO_DRAFT}
    parts: dict[str, Any] = {}
    tree = _tree(row, missing)
    others = None if other is None else _tree(other, {})
    if facts.root_is_prompt:
        missing["prefill"] = "the first root is the prompt's last token"
    elif row.get("context_token_ids") is not None:
        parts["prefill"] = _prefill(row, other, facts)
    if tree is not None:
        parts["tensorize"] = TensorizeEvidence(
            committed_len=int(row["committed_len"]),
            num_nodes=len(tree.parents),
            vocab_size=facts.vocab_size,
            fused=tree,
            reference=others,
            rotary_offset=_rotary_offset(row, facts),
        )
        parts |= _after_tree(row, other, tree, missing, facts)
        missing["accept"] = lacking(row, (*ACCEPT, "target_token_ids"))
        if not missing["accept"]:
            parts["accept"] = _accept(row, other, tree, state, facts)
    return StepEvidence(
        moment=Moment.of_row(row),
        dtype=facts.dtype,
        missing=missing,
        block_size=facts.block_size,
        **parts,
    )


def _tree(row: Row, missing: dict[str, str]) -> Tensorized | None:
    """Return the tree of a row, or write in `missing` why later stages cannot be judged."""
    reason = lacking(row, (*TREE, "committed_len"))
    if not reason and not is_tree(row):
        reason = "the recorded parents make no tree"
    if not reason:
        return tensorized_of(row)
    missing.update(dict.fromkeys(("tensorize", "verify", "accept", "commit"), reason))
    return None


def _rotary_offset(row: Row, facts: RecordedFacts) -> int | None:
    """Return what may be added to the positions of a step; None where that is not known."""
    if row.get("rotary_position_ids") is not None:
        return 0  # position_ids are then the logical ones
    return declared_offset(facts.model_facts, facts.request_offsets, row.get("request_id"))


def _prefill(row: Row, other: Row | None, facts: RecordedFacts) -> PrefillEvidence:
    context = np.asarray(row["context_token_ids"], dtype=np.int64)
    theirs = None if other is None else other.get("context_token_ids")
    return PrefillEvidence(
        prompt_token_ids=context[:-1],
        is_greedy=facts.is_greedy_at(row),
        fused_context_token_ids=context,
        reference_context_token_ids=None if theirs is None else np.asarray(theirs, dtype=np.int64),
    )


def _after_tree(
    row: Row, other: Row | None, tree: Tensorized, missing: dict[str, str], facts: RecordedFacts
) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    if row.get("target_token_ids") is None and row.get("visible") is None:
        missing["verify"] = "neither visible nor target_token_ids recorded"
    else:
        parts["verify"] = VerifyEvidence(
            committed_len=int(row["committed_len"]),
            valid=tree.valid,
            built_visible=tree.visible,
            depths=tree.depths,
            model_facts=facts.model_facts,
            constrained=constrained_nodes(row, facts.model_facts),
            fused=verify_side(row),
            reference=None if other is None else verify_side(other),
        )
    missing["commit"] = lacking(row, ("committed_len_after", "path_indices"))
    if not missing["commit"]:
        parts["commit"] = CommitEvidence(
            committed_len=int(row["committed_len"]),
            path_indices=np.asarray(row["path_indices"], dtype=np.int64),
            committed=result_of_row(Committed, row),
        )
    return parts


def constrained_nodes(row: Row, model_facts: ModelFacts | None) -> BoolArray | None:
    """Return the nodes whose choice may be another than the best of the logits, `[N]`; None: no node's.

    Where nothing is declared, those whose choice is not the best of the recorded logits, if they are few.
    """
    chosen, ids, valid = (row.get(name) for name in ("target_token_ids", "target_top_ids", "valid"))
    constraint = {name: row.get(name) for name in CONSTRAINT} | {"model_facts": model_facts}
    if valid is None or chosen is None:
        return None
    valid = np.asarray(valid, dtype=np.bool_)
    if constraint["logits_kind"] in ALTERED:
        return np.ones(len(valid), dtype=np.bool_)  # the choice of other logits than the reference's
    try:
        free = unconstrained(valid, **constraint)
    except NotApplicableError:
        return np.ones(len(valid), dtype=np.bool_)
    if model_facts is not None or ids is None or np.shape(ids)[:1] != valid.shape or not np.shape(ids)[1]:
        return ~free
    odd = valid & (np.asarray(chosen) != np.asarray(ids)[:, 0])
    return odd if may_be_constrained(np.flatnonzero(odd).tolist(), valid, constraint) else ~free


def verify_side(row: Row) -> VerifySide:
    """Return the exact results of verify in a row."""
    recorded = {name: row.get(name) for name in required_columns(Verified)}
    return VerifySide(**{name: np.asarray(each) for name, each in recorded.items() if each is not None})


def _accept(
    row: Row, other: Row | None, tree: Tensorized, state: TurnState, facts: RecordedFacts
) -> AcceptEvidence:
    accepted = with_tail(result_of_row(Accepted, row), row)
    theirs = None if other is None or lacking(other, ACCEPT) else result_of_row(Accepted, other)
    return AcceptEvidence(
        committed_len=int(row["committed_len"]),
        tree=tree,
        target_token_ids=np.asarray(row["target_token_ids"], dtype=np.int64),
        remaining=_remaining(accepted, row, state),
        eos_token_ids=ends_of_row(
            row, _eos(accepted.stop_reason, accepted.final_token_id, facts), facts.request_limits
        ),
        is_greedy=facts.is_greedy_at(row),
        records_stop_reason=facts.records_stop_reason,
        fused=accepted,
        reference=theirs,
    )


def with_tail(accepted: Accepted, row: Row) -> Accepted:
    """Return what a step committed: with the tail that an engine threw away after it, and so not cut."""
    discarded = discarded_of(row)
    if not discarded:
        return accepted
    emitted = np.append(accepted.emitted_token_ids, discarded)
    return replace(accepted, emitted_token_ids=emitted, stop_reason=None)


def ends_of_row(
    row: Row, eos_token_ids: frozenset[int], request_limits: Mapping[str, RequestLimits]
) -> frozenset[int]:
    """Return the model's tokens at which a step may be cut; none where its tail was thrown away instead."""
    limits = limits_of(request_limits, row.get("request_id"))
    is_whole = bool(discarded_of(row)) or (limits is not None and limits.ignore_eos)
    return frozenset() if is_whole else eos_token_ids


def _remaining(accepted: Accepted, row: Row, state: TurnState) -> int:
    """Return the tokens left; where the limit is not known, the row's own stop reason decides."""
    num_emitted = len(accepted.emitted_token_ids)
    if state.is_bounded and not discarded_of(row):
        return state.remaining
    return num_emitted if accepted.stop_reason == "length" else num_emitted + 1


def _eos(stop_reason: str | None, final_token_id: int, facts: RecordedFacts) -> frozenset[int]:
    if facts.eos_token_ids is not None:
        return facts.eos_token_ids
    return frozenset({final_token_id}) if stop_reason == "eos" else frozenset()


def lacking(row: Row, names: tuple[str, ...]) -> str:
    """Return a clause that names the columns which a row does not have, or an empty string."""
    missing = [name for name in names if row.get(name) is None]
    return f"{', '.join(missing)} not recorded" if missing else ""


def is_tree(row: Row) -> bool:
    """Whether every valid node's walk over its parents ends at the root, and all arrays have one length."""
    parents = row["parents"]
    same = all(len(row[name]) == len(parents) for name in TREE if row.get(name) is not None)
    return bool(
        same
        and len(parents)
        and all(path_to_root(node, parents) is not None for node in np.flatnonzero(row["valid"]).tolist())
    )


def tensorized_of(row: Row) -> Tensorized:
    """Return the static arrays; `visible` is the closure of the recorded parents, as it should be built.

    Args:
        row: Has the columns of `TREE`, and `is_tree`.
    """
    return result_of_row(Tensorized, row, visible=ancestor_or_self(row["parents"], row["valid"]))
