"""Judges verify: what attention was given, K and V, features, logits and choices of each valid node."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.rule import NotApplicableError
from invariants.spans import shown_span
from tracing.spans import FULL, Reach
from tracing.stages import BoolArray, IntArray
from workbench.judge.choices import VERIFY, judge_choices
from workbench.judge.commit import judge_prefix
from workbench.judge.evidence import VerifyEvidence, VerifySide
from workbench.judge.exact import judge_exact, judge_visible, same_shape
from workbench.judge.experts import behind_open, judge_experts
from workbench.judge.notes import Notes
from workbench.judge.rows import judge_rows

CONSTRAINED: Final = "a grammar or a bias may have changed the choice"


def judge_verify(notes: Notes, evidence: VerifyEvidence) -> None:
    """Judge one forward over the tree, causes first: visibility, K and V, features, logits, choices."""
    valid = np.asarray(evidence.valid, dtype=np.bool_)
    for path, side in (("fused", evidence.fused), ("reference", evidence.reference)):
        if side is not None:
            _judge_given(notes, evidence, side, path)
    _judge_committed(notes, evidence)
    open_layer = judge_experts(notes, evidence.routing, evidence.kv, named=True)
    kv, why = behind_open(notes, open_layer, evidence.kv)
    judge_rows(notes, "JUDGE-VERIFY-KV", "kv", kv, valid=valid)
    if why:
        for quantity in ("features", "logits", "target_token_ids"):
            notes.skip(quantity, why)
        return
    if "features" not in evidence.absent:
        judge_rows(notes, "JUDGE-VERIFY-FEATURES", "features", evidence.features, valid=valid)
    logits = judge_rows(notes, "JUDGE-VERIFY-LOGITS", "logits", evidence.logits, valid=valid)
    theirs = None if evidence.reference is None else evidence.reference.target_token_ids
    ours, nodes = evidence.fused.target_token_ids, np.flatnonzero(valid)
    if evidence.constrained is not None and evidence.constrained[nodes].any():
        notes.skip("constrained_choices", CONSTRAINED)
        nodes = nodes[~evidence.constrained[nodes]]
    judge_choices(notes, VERIFY, fused=ours, reference=theirs, logits=logits, nodes=nodes)


def _judge_committed(notes: Notes, evidence: VerifyEvidence) -> None:
    """Judge that the forward left the committed rows alone; else commit would be charged with it."""
    before, after = evidence.rows_before, evidence.rows_after
    if before is not None and after is not None:  # else they are listed as unknown at commit
        judge_prefix(notes, before, after, "the forward over the tree")


def _judge_given(notes: Notes, evidence: VerifyEvidence, side: VerifySide, path: str) -> None:
    num_nodes, nodes = len(evidence.valid), np.flatnonzero(evidence.valid)
    prefix = side.prefix_visible
    span: Reach | None = FULL
    if prefix is None:
        notes.lacks("prefix_visible", f"the {path} path does not provide it")
    elif same_shape(notes, "prefix_visible", prefix, (num_nodes,), path):
        span = _judge_prefix(notes, evidence, prefix, path)
    if side.visible is None or evidence.built_visible is None:
        notes.skip("visible", f"not known of the {path} path as built and as received")
    elif same_shape(notes, "visible", side.visible, (num_nodes, num_nodes), path):
        lawful = _through(span or FULL, evidence)
        judge_visible(notes, "JUDGE-VERIFY-VISIBLE", side.visible, lawful, nodes=nodes, path=path)
        notes.check("visible")
    if side.other_visible is None:
        notes.lacks("other_visible", f"the {path} path does not provide it")
    elif same_shape(notes, "other_visible", side.other_visible, (num_nodes,), path):
        none = np.zeros(num_nodes, dtype=np.int64)
        judge_exact(
            notes, "JUDGE-VERIFY-OTHER", "other_visible", side.other_visible, none, nodes=nodes, path=path
        )
        notes.check("other_visible")


def _judge_prefix(notes: Notes, evidence: VerifyEvidence, prefix: IntArray, path: str) -> Reach | None:
    """Judge the committed rows that each node sees; return the span that they show, None if not known."""
    valid, nodes = np.asarray(evidence.valid, dtype=np.bool_), np.flatnonzero(evidence.valid)
    try:
        span = shown_span(prefix, evidence.depths, valid, evidence.committed_len, evidence.model_facts)
    except NotApplicableError as unknown:
        notes.skip("prefix_visible", str(unknown))
        return None
    depths = np.zeros(len(valid), np.int64) if evidence.depths is None else evidence.depths
    lawful = span.num_prefix(evidence.committed_len + depths, evidence.committed_len)
    judge_exact(notes, "JUDGE-VERIFY-PREFIX", "prefix_visible", prefix, lawful, nodes=nodes, path=path)
    notes.check("prefix_visible")
    return span


def _through(span: Reach, evidence: VerifyEvidence) -> BoolArray:
    """Return what the tree was built to show, as far as the layer's window leaves it."""
    assert evidence.built_visible is not None
    if evidence.depths is None:
        return evidence.built_visible
    positions = evidence.committed_len + np.asarray(evidence.depths, dtype=np.int64)
    lawful: BoolArray = evidence.built_visible & span.reaches(positions, positions)
    return lawful
