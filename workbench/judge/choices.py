"""Greedy choices: the best token of the path's own row, and the true one or a proven near tie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracing.stages import IntArray
from workbench.judge.measured import GroupRows, Judged
from workbench.judge.notes import Notes


@dataclass(frozen=True, slots=True)
class ChoiceRules:
    """Which rules and names apply: verify's choices or prefill's root.

    Attributes:
        argmax: Rule of a choice that is not the best of its own row.
        differs: Rule of a different choice that no near tie explains.
        kind: Kind of near tie, `choice` or `root`.
        column: Column of the choice.
    """

    argmax: str
    differs: str
    kind: str
    column: str


VERIFY = ChoiceRules("JUDGE-VERIFY-ARGMAX", "JUDGE-VERIFY-CHOICE", "choice", "target_token_ids")
ROOT = ChoiceRules("JUDGE-PREFILL-ARGMAX", "JUDGE-PREFILL-ROOT", "root", "context_token_ids")


def judge_choices(
    notes: Notes,
    rules: ChoiceRules,
    *,
    fused: IntArray | None,
    reference: IntArray | None,
    logits: Judged | None,
    nodes: IntArray,
) -> None:
    """Judge the choice after each node.

    Args:
        notes: Where to record.
        rules: Verify's or prefill's.
        fused: Token chosen after each node on the fused path, `[N]`.
        reference: The same on the reference path, or None.
        logits: The judged logits, whose rows name nodes; None when they could not be judged.
        nodes: The nodes to judge.
    """
    if fused is None:
        notes.skip(rules.column, "the path does not provide it")
        return
    row_from_node = {} if logits is None else {int(node): row for row, node in enumerate(logits.rows)}
    compared = 0
    for node in nodes.tolist():
        row = row_from_node.get(node)
        if logits is not None and row is not None:
            theirs = None if reference is None else int(reference[node])
            _judge_row(_Chooser(notes, rules, logits.groups[0], row, node), int(fused[node]), theirs)
        elif reference is not None:
            _judge_bare(notes, rules, node, int(fused[node]), int(reference[node]))
        else:
            continue
        compared += 1
    if compared:
        notes.check(rules.column)
    else:
        notes.skip(rules.column, "neither logits nor choices of the reference")


def best_token(row: NDArray[np.float64]) -> int:
    """Return the argmax of `[V]`, ties to the lower id."""
    return int(np.argmax(row))


@dataclass(frozen=True, slots=True)
class _Chooser:
    """One node with its row of logits: passed to the helpers below."""

    notes: Notes
    rules: ChoiceRules
    group: GroupRows
    row: int
    node: int


def _judge_row(chooser: _Chooser, ours: int, theirs: int | None) -> None:
    """Judge one choice by its logits."""
    group, row, node = chooser.group, chooser.row, chooser.node
    own = _judge_argmax(chooser, ours, "fused")
    if theirs is not None:
        _judge_argmax(chooser, theirs, "reference")
    if not own or not group.finite[row]:
        return
    true_choice = best_token(group.truth[row])
    if ours == true_choice or group.failed[row]:
        return  # a failed row has its own finding; what it chose follows from it and is never a near tie
    gap = float(group.truth[row, true_choice] - group.truth[row, ours])
    allowance = 2 * float(group.allowance.largest[row])
    if gap <= allowance:
        chooser.notes.near_tie(
            chooser.rules.kind, node=node, fused=ours, reference=true_choice, gap=gap, allowance=allowance
        )
        return
    chooser.notes.finding(
        chooser.rules.differs,
        chooser.rules.column,
        f"node {node} chooses token {ours}, but {true_choice} is better by {gap:.3g}: no near tie is proven",
        guilty="unknown",
        node=node,
        fused=ours,
        reference=true_choice,
        allowance=None if np.isnan(allowance) else allowance,
        gap=gap,
    )


def _judge_argmax(chooser: _Chooser, choice: int, path: str) -> bool:
    """Return whether a choice is the best token of its own row, and write down when it is not."""
    group, row, node = chooser.group, chooser.row, chooser.node
    values = group.fused[row] if path == "fused" else group.truth[row]
    if not np.isfinite(values).all():
        return False
    best = best_token(values)
    if choice == best:
        return True
    inside = 0 <= choice < values.size
    lead = float(values[best] - values[choice]) if inside else None
    because = f"its own logits put {best} ahead by {lead:.3g}" if inside else "it is outside the vocabulary"
    if lead == 0:
        because = f"its own logits tie and {best} is the lower id"
    chooser.notes.finding(
        chooser.rules.argmax,
        chooser.rules.column,
        f"node {node} chooses token {choice} on the {path} path, but {because}",
        guilty=path,
        node=node,
        fused=choice if path == "fused" else None,
        reference=best if path == "fused" else choice,
        gap=lead,
    )
    return False


def _judge_bare(notes: Notes, rules: ChoiceRules, node: int, ours: int, theirs: int) -> None:
    """Judge one choice without logits: different is different."""
    if ours == theirs:
        return
    notes.finding(
        rules.differs,
        rules.column,
        f"node {node} chooses token {ours}, the reference {theirs}; without logits no near tie is proven",
        guilty="unknown",
        node=node,
        fused=ours,
        reference=theirs,
    )
