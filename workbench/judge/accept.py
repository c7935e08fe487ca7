"""Judges acceptance: a plain walk over tree and choices, cut at EOS and at the limit; all exact."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from tracing.settings import STOP_WORDS
from tracing.stages import Accepted, IntArray
from workbench.judge.ancestry import accepted_walk
from workbench.judge.draw_ties import note_draw_ties
from workbench.judge.evidence import AcceptEvidence
from workbench.judge.exact import judge_list, judge_num_draws
from workbench.judge.notes import Notes
from workbench.judge.sampler import judge_sampler


def judge_accept(notes: Notes, evidence: AcceptEvidence) -> None:
    """Judge both paths by the same law; each later law starts from the path's own earlier answer."""
    if not evidence.is_greedy and evidence.reference is None:
        notes.skip("*", "a sampled path is judged by the reference's over the same draws, and there is none")
        return
    expected = expected_accepted(evidence)
    for path, accepted in (("fused", evidence.fused), ("reference", evidence.reference)):
        if accepted is None:
            notes.lacks("*", f"the {path} path does not provide it")
        else:
            _judge_path(notes, evidence, accepted, expected, path)
    if evidence.reference is not None and evidence.reference.draws is not None:
        judge_num_draws(notes, evidence.draws, len(evidence.reference.draws))
    note_draw_ties(notes, evidence.draw_ties)
    judge_sampler(notes, evidence)


def expected_accepted(evidence: AcceptEvidence) -> IntArray:
    """Return the accepted draft nodes, already cut: a cut token becomes the final one."""
    if not evidence.is_greedy:
        return np.asarray(evidence.reference.accepted_nodes if evidence.reference else [], dtype=np.int64)
    choices, tree = evidence.target_token_ids, evidence.tree
    accepted = accepted_walk(tree, choices)
    emitted = [int(tree.token_ids[node]) for node in accepted] + [
        int(choices[accepted[-1] if accepted else 0])
    ]
    num_emitted = min(len(emitted), max(evidence.remaining, 1))
    for place, token_id in enumerate(emitted[:num_emitted]):
        if token_id in evidence.eos_token_ids:
            num_emitted = place + 1
            break
    return np.array(accepted[: num_emitted - 1], dtype=np.int64)


def _judge_path(
    notes: Notes, evidence: AcceptEvidence, accepted: Accepted, expected: IntArray, path: str
) -> None:
    nodes = np.asarray(accepted.accepted_nodes, dtype=np.int64)
    if accepted.stop_reason in STOP_WORDS:  # where they cut is not known here
        expected = expected[: len(nodes)]
    which = "on which every token is the choice before it" if evidence.is_greedy else "that the draws accept"
    why = f"the longest path {which}, cut at EOS and at the limit"
    rule, column = "JUDGE-ACCEPT-NODES", "accepted_nodes"
    first = partial(_node_of_path, nodes, expected)
    judge_list(notes, rule, column, nodes, expected, path=path, message=why, node_at=first)
    notes.check("accepted_nodes")
    if not ((nodes >= 0) & (nodes < len(evidence.tree.token_ids))).all():
        return  # these numbers cannot be followed; the finding above says so
    last = int(nodes[-1]) if nodes.size else 0
    final = _final_token(evidence, last)
    if accepted.final_token_id != final:
        notes.finding(
            "JUDGE-ACCEPT-FINAL",
            "final_token_id",
            f"the final token is {accepted.final_token_id}, but the choice after node {last} is {final}",
            guilty=path,
            node=last,
            fused=accepted.final_token_id,
            reference=final,
        )
    emitted = np.append(evidence.tree.token_ids[nodes], accepted.final_token_id)
    kept = evidence.committed_len + np.append(0, nodes)
    walked = [*nodes.tolist(), last]  # the final token is the choice after the last accepted node
    for name, column, law, why, meant in (
        ("EMITTED", "emitted_token_ids", emitted, "the accepted tokens, then the final one", walked),
        ("PATH", "path_indices", kept, "L for the root, then L + node for each accepted node", [0, *walked]),
    ):
        came, node_at = np.asarray(getattr(accepted, column)), partial(_place_or_last, meant)
        rule = f"JUDGE-ACCEPT-{name}"
        judge_list(notes, rule, column, came, law, path=path, message=why, node_at=node_at)
    if accepted.stop_reason is None and not evidence.records_stop_reason:
        notes.skip("stop_reason", "no step of the run records a stop reason")
    else:
        _judge_stop(notes, evidence, accepted, path)
        notes.check("stop_reason")
    for column in ("final_token_id", "emitted_token_ids", "path_indices"):
        notes.check(column)


def _node_of_path(nodes: IntArray, expected: IntArray, place: int) -> int | None:
    """Return the accepted node at a place where two paths part: that of the path, else the missing one."""
    longer = nodes if place < len(nodes) else expected
    return int(longer[place]) if longer[place] >= 0 else None


def _place_or_last(nodes: Sequence[int], place: int) -> int:
    return nodes[min(place, len(nodes) - 1)]


def _final_token(evidence: AcceptEvidence, last: int) -> int:
    """Return the token after node `last`: the teacher's choice, or what the draws choose."""
    if evidence.is_greedy or evidence.reference is None:
        return int(evidence.target_token_ids[last])
    return evidence.reference.final_token_id


def _judge_stop(notes: Notes, evidence: AcceptEvidence, accepted: Accepted, path: str) -> None:
    """Judge the stop reason against the path's own emitted tokens."""
    expected = None
    if accepted.final_token_id in evidence.eos_token_ids:
        expected = "eos"
    elif len(accepted.emitted_token_ids) >= evidence.remaining:
        expected = "length"
    if accepted.stop_reason in STOP_WORDS and expected != "eos":
        expected = accepted.stop_reason
    num_emitted = len(accepted.emitted_token_ids)
    if accepted.stop_reason != expected:
        notes.finding(
            "JUDGE-ACCEPT-STOP",
            "stop_reason",
            f"stop_reason is {accepted.stop_reason}, expected {expected}: {num_emitted} of "
            f"{evidence.remaining} tokens left were emitted, the last is {accepted.final_token_id}",
            guilty=path,
            fused=str(accepted.stop_reason),
            reference=str(expected),
        )
