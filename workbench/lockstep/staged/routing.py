"""Evidence of which experts worked, and logits of routers as rows among others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reference.teacher import TeacherRows
from tracing.models import Experts
from tracing.stages import IntArray, Verified
from workbench.judge.evidence import PrefillEvidence, VerifyEvidence
from workbench.judge.experts import lawful_experts
from workbench.judge.row_truth import RoutingTruth, RowTruth
from workbench.lockstep.tensors.host import host_floats


@dataclass(frozen=True, slots=True)
class RoutingEvidence:
    """Makes evidence of experts; None for a model without.

    Attributes:
        experts: How many, in how many groups, or None.
        reference: Rows of a forward, the truth first, then the samples.
    """

    experts: Experts | None
    reference: Sequence[TeacherRows]

    def of_prompt(self, expert_ids: IntArray | None) -> RoutingTruth | None:
        """Return what worked on every position; the path's experts are `[layers, L, num_groups]`."""
        if self.experts is None:
            return None
        return RoutingTruth(experts=self.experts, logits=self._logits(slice(None)), expert_ids=expert_ids)

    def of_nodes(
        self, nodes: IntArray, verified: Verified, committed: IntArray | None, committed_len: int
    ) -> RoutingTruth | None:
        """Return what worked on nodes, and how sure the choice is in committed rows without the path's.

        Args:
            nodes: Valid ones.
            verified: Of the path.
            committed: The path's experts of committed rows, `[layers, L, num_groups]`, or None.
            committed_len: L.
        """
        if self.experts is None:
            return None
        own = verified.router_logits
        fused = None if own is None else host_floats(own)[:, nodes]
        logits = replace(self._logits(committed_len + nodes), fused=fused, rows=nodes)
        free = np.arange(committed_len)
        if committed is not None:
            free = np.flatnonzero((lawful_experts(committed, self.experts) < 0).any(axis=(0, 2)))
        ids = None if verified.expert_ids is None else verified.expert_ids[:, nodes]
        others = self._logits(free)
        return RoutingTruth(experts=self.experts, logits=logits, expert_ids=ids, others=others)

    def _logits(self, rows: Any) -> RowTruth:
        every = [host_floats(each.routing.logits)[:, rows] for each in self.reference if each.routing]
        return RowTruth(truth=every[0], samples=tuple(every[1:]))


def quantity_of(part: PrefillEvidence | VerifyEvidence, column: str) -> RowTruth | None:
    """Return the rows of a column."""
    if column == "router_logits":
        return None if part.routing is None else part.routing.logits
    quantity: RowTruth | None = getattr(part, column, None)
    return quantity


def values_of(rows: TeacherRows, column: str) -> tuple[Any, int]:
    """Return the values of a column and the axis of its rows; of routers with committed rows before nodes."""
    if column == "router_logits":
        return (np.zeros((0, 0, 0)) if rows.routing is None else host_floats(rows.routing.logits)), 1
    return host_floats(getattr(rows, column)), 3 if column == "kv" else 0
