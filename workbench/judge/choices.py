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
        notes.lacks(rules.column)
        return
    row_from_node = {} if logits is None else {int(node): row for row, node in enumerate(logits.rows)}
    compared = 0
    for node in nodes.tolist():
        row, theirs = row_from_node.get(node), None if reference is None else int(reference[node])
        chooser = _Chooser(notes, rules, node, int(fused[node]))
        if logits is not None and row is not None:
            _judge_row(chooser, logits.groups[0], row, theirs)
        elif theirs is None:
            continue
        elif theirs != chooser.choice:
            chooser.differs(f"the reference {theirs}; without logits no near tie is proven", theirs)
        compared += 1
    if compared:
        notes.check(rules.column)
    else:
        notes.skip(rules.column, "neither logits nor choices of the reference")


@dataclass(frozen=True, slots=True)
class _Chooser:
    """One node and the tested path's choice after it: passed to the helpers below."""

    notes: Notes
    rules: ChoiceRules
    node: int
    choice: int

    def differs(
        self, why: str, reference: int, *, allowance: float | None = None, gap: float | None = None
    ) -> None:
        """Write down a different choice that no near tie explains."""
        self.notes.finding(
            self.rules.differs,
            self.rules.column,
            f"node {self.node} chooses token {self.choice}, {why}",
            guilty="unknown",
            node=self.node,
            fused=self.choice,
            reference=reference,
            allowance=allowance,
            gap=gap,
        )


def _judge_row(chooser: _Chooser, group: GroupRows, row: int, theirs: int | None) -> None:
    ours = chooser.choice
    own = _judge_argmax(chooser, group.fused_row(row), ours, "fused")
    if theirs is not None:
        _judge_argmax(chooser, group.truth_row(row), theirs, "reference")
    if not own or not group.finite[row]:
        return
    best = int(np.argmax(group.truth[row]))
    if ours == best or group.failed[row]:
        return  # a failed row has its own finding; what it chose follows from it and is never a near tie
    gap = float(group.truth[row, best]) - float(group.truth[row, ours])
    allowance = 2 * float(group.allowance.largest[row])
    if gap <= allowance:
        kind = chooser.rules.kind
        chooser.notes.near_tie(
            kind, node=chooser.node, fused=ours, reference=best, gap=gap, allowance=allowance
        )
        return
    why = f"but {best} is better by {gap:.3g}: no near tie is proven"
    chooser.differs(why, best, allowance=None if np.isnan(allowance) else allowance, gap=gap)


def _judge_argmax(chooser: _Chooser, values: NDArray[np.float64], choice: int, path: str) -> bool:
    """Return whether a choice is the best of its own row `[V]`, ties to the lower id; write down if not."""
    if not np.isfinite(values).all():
        return False
    best = int(np.argmax(values))
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
        f"node {chooser.node} chooses token {choice} on the {path} path, but {because}",
        guilty=path,
        node=chooser.node,
        fused=choice if path == "fused" else None,
        reference=best if path == "fused" else choice,
        gap=lead,
    )
    return False
