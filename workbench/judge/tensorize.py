"""Judges tensorize: the static arrays against the draft and against the judge's own walk; all exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from invariants.rotary import lawful_offset
from invariants.rule import NotApplicableError
from tracing.fields import forms_of
from tracing.stages import IntArray, Tensorized
from workbench.judge.ancestry import expected_depths, expected_visible
from workbench.judge.evidence import TensorizeEvidence
from workbench.judge.exact import judge_exact, judge_visible, same_shape
from workbench.judge.notes import Notes

ROWS = tuple(form.name for form in forms_of(Tensorized) if form.axes == ("N",))
"""Fields with one entry per node."""


def judge_tensorize(notes: Notes, evidence: TensorizeEvidence) -> None:
    """Judge the arrays of both paths by the same laws."""
    for path, built in (("fused", evidence.fused), ("reference", evidence.reference)):
        if built is None:
            notes.lacks("*", f"the {path} path does not provide it")
        elif _shapes_hold(notes, evidence, built, path):
            _judge_path(notes, evidence, built, path)
    if evidence.drafted is None:
        notes.skip("token_ids", "no draft to compare with")


def _shapes_hold(notes: Notes, evidence: TensorizeEvidence, built: Tensorized, path: str) -> bool:
    """Return whether every array has N rows; scores may be missing where the draft gives none."""
    num_nodes = evidence.num_nodes
    scored = evidence.drafted is not None and evidence.drafted.logprobs is not None
    must = {"logprobs"} if scored else set()
    names = [name for name in ROWS if name in must or getattr(built, name) is not None]
    held = [same_shape(notes, name, np.asarray(getattr(built, name)), (num_nodes,), path) for name in names]
    return all([*held, same_shape(notes, "visible", built.visible, (num_nodes, num_nodes), path)])


def _judge_path(notes: Notes, evidence: TensorizeEvidence, built: Tensorized, path: str) -> None:
    parents = _judge_copies(notes, evidence, built, path)
    num_valid = int(np.sum(built.valid)) if evidence.drafted is None else len(evidence.drafted.token_ids)
    nodes = np.arange(min(num_valid, evidence.num_nodes))
    depths = expected_depths(parents, num_valid)
    cache_positions = evidence.committed_len + np.arange(evidence.num_nodes)
    valid = np.arange(evidence.num_nodes) < num_valid
    everyone = np.arange(evidence.num_nodes)
    for rule, column, expected, which in (
        ("JUDGE-TENSORIZE-VALID", "valid", valid, everyone),
        ("JUDGE-TENSORIZE-DEPTHS", "depths", depths, nodes),
        ("JUDGE-TENSORIZE-CACHE", "cache_positions", cache_positions, everyone),
    ):
        judge_exact(notes, rule, column, np.asarray(getattr(built, column)), expected, nodes=which, path=path)
        notes.check(column)
    _judge_positions(notes, evidence, built, (depths, nodes), path)
    visible = expected_visible(parents, num_valid)
    judge_visible(notes, "JUDGE-TENSORIZE-VISIBLE", built.visible, visible, nodes=nodes, path=path)
    notes.check("visible")
    _judge_pads(notes, evidence, built, everyone[num_valid:], path)


def _judge_positions(
    notes: Notes, evidence: TensorizeEvidence, built: Tensorized, tree: tuple[IntArray, IntArray], path: str
) -> None:
    """Judge L + depth, or that plus the constant that is lawful; `tree` holds depths `[N]` and the nodes."""
    depths, nodes = tree
    at_depth = evidence.committed_len + depths
    positions = np.asarray(built.position_ids)
    try:
        offset = lawful_offset((positions - at_depth)[nodes], evidence.rotary_offset) if nodes.size else 0
    except NotApplicableError as unknown:
        notes.skip("position_ids", str(unknown))
        return
    rule = "JUDGE-TENSORIZE-POSITIONS"
    judge_exact(notes, rule, "position_ids", positions, at_depth + offset, nodes=nodes, path=path)
    notes.check("position_ids")


def _judge_copies(notes: Notes, evidence: TensorizeEvidence, built: Tensorized, path: str) -> IntArray:
    """Judge what is copied from the draft; return the parents that the other laws start from, `[N]`."""
    drafted = evidence.drafted
    if drafted is None:
        return np.asarray(built.parents)
    nodes = np.arange(len(drafted.token_ids))
    if nodes.size > evidence.num_nodes:
        message = f"the draft has {nodes.size} nodes, the tree only {evidence.num_nodes}"
        notes.finding("JUDGE-SHAPE", "token_ids", message, fused=nodes.size, reference=evidence.num_nodes)
        nodes = nodes[: evidence.num_nodes]
    for rule, column in (
        ("JUDGE-TENSORIZE-TOKENS", "token_ids"),
        ("JUDGE-TENSORIZE-PARENTS", "parents"),
        ("JUDGE-TENSORIZE-LOGPROBS", "logprobs"),
    ):
        source = getattr(drafted, column)
        if source is not None:
            value: NDArray[Any] = np.asarray(getattr(built, column))
            judge_exact(notes, rule, column, value, np.asarray(source), nodes=nodes, path=path)
            notes.check(column)
    parents = np.zeros(evidence.num_nodes, dtype=np.int64)
    parents[nodes] = drafted.parents[: nodes.size]
    return parents


def _judge_pads(
    notes: Notes, evidence: TensorizeEvidence, built: Tensorized, pads: NDArray[np.int64], path: str
) -> None:
    """Judge that pads are inert: they see nothing, no node sees them, and hold harmless values."""
    if not pads.size:
        return
    notes.check("pads")
    rule = "JUDGE-TENSORIZE-PADS"
    for column, value in (
        ("parents", 0),
        ("depths", 0),
        ("logprobs", 0),
        ("position_ids", evidence.committed_len),
    ):
        if getattr(built, column) is not None:
            own: NDArray[Any] = np.asarray(getattr(built, column))
            if column == "position_ids" and (own[pads] == own[0]).all():
                continue  # where the root is, as a constant offset has it
            judge_exact(notes, rule, column, own, np.full_like(own, value), nodes=pads, path=path)
    top = evidence.vocab_size if evidence.vocab_size is not None else np.iinfo(np.int64).max
    legal = np.clip(built.token_ids, 0, top - 1)
    judge_exact(notes, rule, "token_ids", np.asarray(built.token_ids), legal, nodes=pads, path=path)
    # That no node sees a pad is part of the nodes' own rows.
    judge_visible(notes, rule, built.visible, np.zeros_like(built.visible), nodes=pads, path=path)
