"""Judges the draft: drafter K and V, scores, beams, the selected tree and its parents."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tracing.stages import BeamSearch, Drafted
from workbench.judge.draft_laws import (
    Candidates,
    gather_candidates,
    judge_beams,
    judge_nodes,
    judge_order,
    judge_root,
    judge_selected,
    node_of,
)
from workbench.judge.draft_nodes import DraftNodes, has_samples, judge_drawn, judge_node_scores
from workbench.judge.draft_scores import Scores, count_near_ties, judge_scores
from workbench.judge.draft_static import judge_ranks, judge_topology
from workbench.judge.drawn_drafts import judge_draft_probs
from workbench.judge.evidence import DraftEvidence
from workbench.judge.exact import judge_list, judge_num_draws
from workbench.judge.notes import Notes
from workbench.judge.rows import judge_rows


def judge_draft(notes: Notes, evidence: DraftEvidence) -> None:
    """Judge one draft, causes first: K and V of the new rows, scores, then what was chosen by them."""
    _judge_lengths(notes, evidence)
    if "kv" not in evidence.absent or evidence.kv is not None:
        judge_rows(notes, "JUDGE-DRAFT-KV", "kv", evidence.kv)
    fused = _candidates(notes, evidence)
    search = None if evidence.fused is None else evidence.fused.beam_search()
    _judge_proposal(notes, evidence)
    _judge_draws(notes, evidence)
    if search is None and evidence.fused is not None:
        _judge_nodes(notes, evidence, evidence.fused)
    if search is not None and fused is not None and _finite(notes, fused):
        scores = _scores(notes, evidence, search, fused)
        judge_order(notes, fused)
        judge_beams(notes, search, fused)
        if judge_selected(notes, search, fused, evidence.settings):
            judge_nodes(notes, search, fused)
        if scores is not None:
            count_near_ties(scores)


def _judge_lengths(notes: Notes, evidence: DraftEvidence) -> None:
    """Judge that the drafter's cache holds one row per committed token: no row short, no drafted one left."""
    if evidence.kv_lengths is None or evidence.committed_len is None:
        return  # most paths have no such window; their rows are judged where they show them
    notes.check("kv_lengths")
    law = evidence.committed_len
    for layer, length in enumerate(evidence.kv_lengths):
        if length != law:
            message = f"layer {layer} of the drafter's cache holds {length} rows after the draft"
            message += f", expected L = {law}"
            notes.finding("JUDGE-DRAFT-LENGTH", "kv", message, fused=length, reference=law)
            return


def _judge_proposal(notes: Notes, evidence: DraftEvidence) -> None:
    """Judge a draft that tokens alone decide against the reference's own."""
    drafted, expected = evidence.fused, evidence.proposal
    if drafted is None or expected is None:
        return
    rule, why = "JUDGE-DRAFT-PROPOSAL", "what the reference's drafter proposes after the same tokens"
    for column in ("token_ids", "parents"):
        came, law = np.asarray(getattr(drafted, column)), np.asarray(getattr(expected, column))
        judge_list(notes, rule, column, came, law, path="fused", message=why, node_at=lambda node: node)
        notes.check(f"proposed_{column}")


def _candidates(notes: Notes, evidence: DraftEvidence) -> Candidates | None:
    """Return the candidates of the draft, or None where there are none to judge."""
    drafted = evidence.fused
    if drafted is None:
        notes.lacks("*")
        return None
    judge_root(notes, drafted, evidence.root_token_id)
    search = drafted.beam_search()
    if search is None:
        if "beam_flat_ids" not in evidence.absent:
            notes.lacks(
                "beam_flat_ids", f"the path does not show its candidates (proposer {drafted.proposer})"
            )
        return None
    return gather_candidates(notes, search, evidence)


def _finite(notes: Notes, candidates: Candidates) -> bool:
    """Return whether every score is finite, and write down when not: nothing can be ordered by NaN."""
    bad = np.flatnonzero(~np.isfinite(candidates.scores))
    if not bad.size:
        return True
    message = f"score of candidate {bad[0]} is {candidates.scores[bad[0]]} ({bad.size} candidates)"
    notes.finding("JUDGE-NONFINITE", "draft_logprobs", message)
    return False


def _judge_draws(notes: Notes, evidence: DraftEvidence) -> None:
    """Judge how many uniforms the draft took."""
    if evidence.num_draws is not None:
        judge_num_draws(notes, evidence.draws, evidence.num_draws)
    elif evidence.draws is not None and len(evidence.draws):
        notes.lacks("num_draws", "the reference's drafter does not score drafts, nor draw")


def _judge_nodes(notes: Notes, evidence: DraftEvidence, drafted: Drafted) -> None:
    """Judge scores and drawn tokens of a draft that shows no search."""
    truth, vocabulary = evidence.nodes, evidence.target_from_draft
    if truth is None or vocabulary is None:
        if drafted.logprobs is not None:
            notes.lacks("draft_logprobs", "the reference's drafter does not score drafts without a search")
        return
    nodes = DraftNodes.of(drafted.token_ids, drafted.parents, vocabulary)
    if not judge_topology(notes, nodes, truth):
        return  # scores and ranks follow from the tree
    if has_samples(notes, "draft_logprobs", truth.rows):
        judge_ranks(notes, nodes, truth)
        if drafted.logprobs is None:
            notes.lacks("draft_logprobs")
        else:
            judge_node_scores(notes, nodes, drafted.logprobs, truth)
    if truth.law is not None and not notes.has("JUDGE-DRAW-COUNT"):
        judge_drawn(notes, nodes, evidence.draws, truth)
    if truth.law is not None:
        judge_draft_probs(notes, nodes, drafted.draft_probs, truth.law)


def _scores(
    notes: Notes, evidence: DraftEvidence, drafted: BeamSearch, candidates: Candidates
) -> Scores | None:
    """Judge that candidates are draft tokens, then their scores; return these, None where not judged."""
    if evidence.target_from_draft is None:
        notes.skip("draft_logprobs", "the mapping from draft to target tokens is not known")
        return None
    target_from_draft = np.asarray(evidence.target_from_draft, dtype=np.int64)
    draft_from_target = {int(target): draft for draft, target in enumerate(target_from_draft)}
    _judge_vocabulary(notes, drafted, candidates, draft_from_target)
    if not evidence.levels:
        notes.skip("draft_logprobs", "the reference does not provide log-probabilities")
        return None
    if not has_samples(notes, "draft_logprobs", *evidence.levels):
        return None
    scores = Scores(notes, drafted, candidates, draft_from_target, target_from_draft)
    judge_scores(scores, evidence.levels[: len(drafted.levels)])
    return scores


def _judge_vocabulary(
    notes: Notes, drafted: BeamSearch, candidates: Candidates, draft_from_target: Mapping[int, int]
) -> None:
    notes.check("draft_vocabulary")
    tokens = candidates.token_ids.tolist()
    strangers = [flat for flat, token in enumerate(tokens) if token not in draft_from_target]
    if strangers:
        first = next((flat for flat in strangers if flat in drafted.flat_ids), strangers[0])
        node = node_of(drafted, first)
        message = f"candidate {first} is token {tokens[first]}, which the draft vocabulary does not have"
        message += f" ({len(strangers)} of {len(tokens)} candidates)"
        notes.finding("JUDGE-DRAFT-VOCAB", "token_ids", message, node=node, fused=tokens[first])
