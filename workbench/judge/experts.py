"""Chosen experts: the best of each group by the true scores, or a proven near tie.

The reference runs on the experts that the path gives, so that a choice which rounding explains changes
nothing behind it. Where a path gives none, the reference chooses; from the first layer on where it might as
well have chosen others, nothing can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.models import Experts
from tracing.stages import IntArray
from workbench.judge.allowance import row_allowances
from workbench.judge.exact import same_shape
from workbench.judge.notes import Notes, first_few
from workbench.judge.routing_hints import kept_by_vote, numbered_within
from workbench.judge.row_truth import RoutingTruth, RowTruth
from workbench.judge.rows import judge_rows

RULE: Final = "JUDGE-EXPERTS"
OTHERS: Final = "other experts than the reference's may have worked"
"""Why what lies behind a near tie of a router is not compared."""
CLEAR: Final = "no near tie is proven"
LIMIT: Final = 8
"""Wrong choices named one by one."""


@dataclass(frozen=True, slots=True)
class _Margins:
    """How sure the true choice is, layer by layer.

    Attributes:
        best: Best expert of each group, `[layers, R, num_groups]`.
        lead: Of the best over the second, of the same shape.
        allowance: What a gap between two scores may be, `[layers, R]`; NaN where that is not known.
    """

    best: IntArray
    lead: NDArray[np.float64]
    allowance: NDArray[np.float64]


def lawful_experts(expert_ids: Any, experts: Experts) -> IntArray:
    """Return experts in ascending order, `[..., num_groups]`; -1 for rows without exactly one per group."""
    ids: IntArray = np.sort(np.asarray(expert_ids, dtype=np.int64), axis=-1)
    groups = np.arange(experts.num_groups)
    lawful = (ids >= 0).all(axis=-1, keepdims=True) & (ids // experts.group_size == groups).all(
        axis=-1, keepdims=True
    )
    return np.where(lawful, ids, -1)


def judge_experts(
    notes: Notes, routing: RoutingTruth | None, kv: RowTruth | None, *, named: bool
) -> int | None:
    """Judge the experts of each row; return the first layer behind which nothing can be compared, or None.

    What routers choose from rows that are wrong already follows from these: K and V of a layer come before
    its router, and tell.

    Args:
        notes: Where to record.
        routing: Evidence; None for a model without experts.
        kv: K and V of the same rows.
        named: Rows are nodes, and not positions.
    """
    if routing is None or routing.logits.truth is None or not routing.logits.samples:
        return None
    right = _right_layers(notes, kv, len(routing.logits.truth))
    if right:
        _judge_layers(notes, _of_first_layers(routing, right), named=named)
    if right < len(routing.logits.truth):
        for quantity in ("router_logits", "expert_ids"):
            notes.skip(quantity, f"from layer {right} on they follow from rows that are wrong")
    return _first_open(notes.dtype, routing, _margins(routing.logits, routing.experts, notes.dtype))


def _right_layers(notes: Notes, kv: RowTruth | None, num_layers: int) -> int:
    """Return in how many of the first layers K and V are right; all where they are not known."""
    if kv is None or kv.fused is None or kv.truth is None or kv.fused.shape != kv.truth.shape:
        return num_layers
    judged = judge_rows(Notes(notes.moment, notes.stage, notes.dtype), "JUDGE-VERIFY-KV", "kv", kv)
    if judged is None:
        return num_layers
    wrong = [bool((group.failed | ~group.finite).any()) for group in judged.groups]
    return wrong.index(True) // 2 if True in wrong else num_layers  # K and V of each layer


def _of_first_layers(routing: RoutingTruth, count: int) -> RoutingTruth:
    ids, truth = routing.expert_ids, routing.logits.truth
    if ids is not None and truth is not None and len(ids) == len(truth):
        ids = ids[:count]
    return replace(routing, logits=first_layers(routing.logits, count), expert_ids=ids)


def first_layers(rows: RowTruth, count: int) -> RowTruth:
    """Return rows of the first layers only."""
    return replace(
        rows,
        fused=None if rows.fused is None else rows.fused[:count],
        truth=None if rows.truth is None else rows.truth[:count],
        samples=tuple(each[:count] for each in rows.samples),
        arbiter={row: value[:count] for row, value in rows.arbiter.items()},
    )


def _judge_layers(notes: Notes, routing: RoutingTruth, *, named: bool) -> None:
    logits = routing.logits
    if logits.fused is not None:
        last = 0 if logits.rows is None else int(logits.rows.max(initial=0))
        valid = np.ones(last + 1, dtype=np.bool_) if named else None
        judge_rows(notes, "JUDGE-ROUTER", "router_logits", logits, valid=valid)
    margins = _margins(logits, routing.experts, notes.dtype)
    if routing.expert_ids is None:
        notes.lacks("expert_ids")
    elif same_shape(notes, "expert_ids", routing.expert_ids, margins.best.shape, "fused"):
        _judge_choices(notes, routing, routing.expert_ids, margins, named=named)
        notes.check("expert_ids")


def behind_open(notes: Notes, layer: int | None, kv: RowTruth | None) -> tuple[RowTruth | None, str]:
    """Return K and V up to an open layer, and why nothing behind it is compared; all and "" without one."""
    if layer is None:
        return kv, ""
    why = f"from layer {layer} on {OTHERS}, and the path does not give its own"
    notes.skip("kv", why)
    if kv is None or kv.truth is None:
        return kv, why
    return first_layers(kv, layer + 1), why


def _margins(logits: RowTruth, experts: Experts, dtype: str) -> _Margins:
    assert logits.truth is not None
    truth = np.asarray(logits.truth, dtype=np.float64)
    by_group = truth.reshape(*truth.shape[:2], experts.num_groups, experts.group_size)
    firsts = np.arange(experts.num_groups) * experts.group_size
    two = np.sort(by_group, axis=-1)[..., -2:]
    lead = two[..., -1] - two[..., 0] if experts.group_size > 1 else np.full(two.shape[:-1], np.inf)
    allowances = [
        row_allowances(rows, tuple(each[layer] for each in logits.samples), dtype).largest
        for layer, rows in enumerate(truth)
    ]
    return _Margins(by_group.argmax(axis=-1) + firsts, lead, 2 * np.stack(allowances))


def _judge_choices(
    notes: Notes, routing: RoutingTruth, given: IntArray, margins: _Margins, *, named: bool
) -> None:
    """Write down choices that are no choice of one per group, and others than the best of a group."""
    chosen, rows = lawful_experts(given, routing.experts), routing.logits.rows
    truth = np.asarray(routing.logits.truth, dtype=np.float64)
    places = np.arange(chosen.shape[1]) if rows is None else rows
    what = "node" if named else "position"
    malformed = np.argwhere((chosen < 0).any(axis=-1)).tolist()
    at = tuple(np.array(malformed, dtype=np.int64).reshape(-1, 2).T)
    hint = numbered_within(np.asarray(given)[at], margins.best[at], routing.experts) if malformed else ""
    for (layer, row), rest in first_few(malformed, LIMIT, "choices"):
        place = int(places[row])
        came = sorted(np.asarray(given[layer, row]).tolist())
        notes.finding(
            RULE,
            "expert_ids",
            f"{what} {place} has experts {came} in layer {layer}, expected one of each of "
            f"{routing.experts.num_groups} groups of {routing.experts.group_size}{hint}{rest}",
            node=place if named else None,
            fused=str(came),
        )
    clear = []
    for layer, row, group in np.argwhere((chosen >= 0) & (chosen != margins.best)).tolist():
        ours, best = int(chosen[layer, row, group]), int(margins.best[layer, row, group])
        gap = float(truth[layer, row, best] - truth[layer, row, ours])
        allowance = float(margins.allowance[layer, row])
        if np.isnan(allowance) or _router_failed(routing.logits, layer, row, allowance / 2):
            continue  # what a wrong router chooses follows from its logits, which have their own finding
        aside = _aside(routing.logits, (layer, row, ours, best), notes.dtype)
        if aside:
            clear.append((layer, row, ours, best, gap, allowance, aside))
        elif gap <= allowance:
            node = int(places[row]) if named else None
            notes.near_tie("expert", node=node, fused=ours, reference=best, gap=gap, allowance=allowance)
        else:
            clear.append((layer, row, ours, best, gap, allowance, CLEAR))
    votes = {layer: kept_by_vote(truth[layer], chosen[layer], routing.experts) for layer, *_ in clear}
    for (layer, row, ours, best, gap, allowance, why), rest in first_few(clear, LIMIT, "choices"):
        place = int(places[row])
        notes.finding(
            RULE,
            "expert_ids",
            f"{what} {place} goes to expert {ours} in layer {layer}, but {best} is ahead by {gap:.3g} in the "
            f"router's true logits: {why}{votes[layer]}{rest}",
            node=place if named else None,
            fused=ours,
            reference=best,
            gap=gap,
            allowance=allowance,
        )


def _aside(logits: RowTruth, choice: tuple[int, int, int, int], dtype: str) -> str:
    """Say that the path's own logits are equal and another than the first works; "" if not.

    Logits in half may be the rounded ones of those that were compared: they prove no tie.

    Args:
        logits: Of the routers.
        choice: Layer, row, expert chosen, and the truly best one.
        dtype: Of the path.
    """
    layer, row, ours, best = choice
    if logits.fused is None:
        return ""
    own = logits.fused[layer, row]
    if own[best] == own[ours] and best < ours and dtype == "float32":
        return "its own are equal, and of equal ones the first has to work"
    return ""


def _router_failed(logits: RowTruth, layer: int, row: int, allowance: float) -> bool:
    """Return whether the path's own router logits of a row are off: what they choose follows from that."""
    if logits.fused is None or logits.truth is None:
        return False
    error = np.abs(np.asarray(logits.fused[layer, row], np.float64) - logits.truth[layer, row]).max()
    return not error <= allowance


def _first_open(dtype: str, routing: RoutingTruth, margins: _Margins) -> int | None:
    """Return the first layer in which a row without the path's experts is a near tie."""
    layers: list[int] = []
    if routing.expert_ids is None:
        layers += _open_layers(margins)
    if routing.others is not None and routing.others.truth is not None and routing.others.truth.shape[1]:
        layers += _open_layers(_margins(routing.others, routing.experts, dtype))
    return min(layers, default=None)


def _open_layers(margins: _Margins) -> list[int]:
    sure = (margins.lead > margins.allowance[..., None]).all(axis=(1, 2))  # False where one is not known
    return [int(layer) for layer in np.flatnonzero(~sure)]
