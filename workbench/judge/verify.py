"""Judges verify: what attention was given, K and V, features, logits and choices of each valid node."""

from __future__ import annotations

import numpy as np

from workbench.judge.choices import VERIFY, judge_choices
from workbench.judge.commit import judge_prefix
from workbench.judge.evidence import VerifyEvidence, VerifySide
from workbench.judge.exact import judge_exact, judge_visible, same_shape
from workbench.judge.notes import Notes
from workbench.judge.rows import judge_rows


def judge_verify(notes: Notes, evidence: VerifyEvidence) -> None:
    """Judge one forward over the tree, causes first: visibility, K and V, features, logits, choices."""
    valid = np.asarray(evidence.valid, dtype=np.bool_)
    for path, side in (("fused", evidence.fused), ("reference", evidence.reference)):
        if side is not None:
            _judge_given(notes, evidence, side, path)
    _judge_committed(notes, evidence)
    judge_rows(notes, "JUDGE-VERIFY-KV", "kv", evidence.kv, valid=valid)
    judge_rows(notes, "JUDGE-VERIFY-FEATURES", "features", evidence.features, valid=valid)
    logits = judge_rows(notes, "JUDGE-VERIFY-LOGITS", "logits", evidence.logits, valid=valid)
    theirs = None if evidence.reference is None else evidence.reference.target_token_ids
    ours, nodes = evidence.fused.target_token_ids, np.flatnonzero(valid)
    judge_choices(notes, VERIFY, fused=ours, reference=theirs, logits=logits, nodes=nodes)


def _judge_committed(notes: Notes, evidence: VerifyEvidence) -> None:
    """Judge that the forward left the committed rows alone; else commit would be charged with it."""
    before, after = evidence.rows_before, evidence.rows_after
    if before is not None and after is not None:  # else they are listed as unknown at commit
        judge_prefix(notes, before, after, "the forward over the tree")


def _judge_given(notes: Notes, evidence: VerifyEvidence, side: VerifySide, path: str) -> None:
    num_nodes, nodes = len(evidence.valid), np.flatnonzero(evidence.valid)
    if side.visible is None or evidence.built_visible is None:
        notes.skip("visible", f"not known of the {path} path as built and as received")
    elif same_shape(notes, "visible", side.visible, (num_nodes, num_nodes), path):
        judge_visible(
            notes, "JUDGE-VERIFY-VISIBLE", side.visible, evidence.built_visible, nodes=nodes, path=path
        )
        notes.check("visible")
    for rule, column, value, expected in (
        ("JUDGE-VERIFY-PREFIX", "prefix_visible", side.prefix_visible, evidence.committed_len),
        ("JUDGE-VERIFY-OTHER", "other_visible", side.other_visible, 0),
    ):
        if value is None:
            notes.lacks(column, f"the {path} path does not provide it")
        elif same_shape(notes, column, value, (num_nodes,), path):
            judge_exact(notes, rule, column, value, np.full(num_nodes, expected), nodes=nodes, path=path)
            notes.check(column)
