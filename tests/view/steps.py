"""Steps made by hand for the panels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.view.columns import VOCABULARY, step_columns
from tests.view.traces import HOSTILE, token_bytes
from tracing.finding import Finding
from tracing.moment import Moment
from workbench.view.lines import plain_text
from workbench.view.panels import PANELS
from workbench.view.step import Side, StepView, ViewOptions
from workbench.view.tokens import Tokens

TOKENS = Tokens({token_id: token_bytes(token_id) for token_id in range(VOCABULARY)})
PLAIN, DIFFERENCES = ViewOptions(), ViewOptions(differences_only=True)
assert set(HOSTILE) <= set(TOKENS.raw_bytes)


def step_view(
    step: int = 0,
    num_nodes: int = 12,
    *,
    right: dict[str, Any] | None = None,
    findings: tuple[Finding, ...] = (),
    **changes: Any,
) -> StepView:
    """One step; `changes` replace columns on the left (None takes one away), `right` adds a second side."""
    columns = step_columns(step, num_nodes)
    keys = {"prompt_id": 0, "turn": 0, "step": step}
    left = Side(
        "fused", keys | {name: value for name, value in (columns | changes).items() if value is not None}
    )
    other = None if right is None else Side("reference", keys | columns | right)
    numbered = tuple(enumerate(findings))
    return StepView(Moment(0, 0, step), left, other, TOKENS, numbered, all_findings=findings)


def empty_side(absent: str = "has no step 0:0:0") -> Side:
    """A side without a row."""
    return Side("reference", {}, absent)


def chain(num_nodes: int = 4) -> dict[str, Any]:
    """Columns of a chain, each node under the one before."""
    order = np.arange(num_nodes)
    return {
        "parents": np.maximum(order - 1, 0),
        "depths": order,
        "valid": np.ones(num_nodes, bool),
        "visible": np.tril(np.ones((num_nodes, num_nodes), bool)),
        "position_ids": 20 + order,
    }


def shown(panel: str, step: StepView, options: ViewOptions = PLAIN) -> str:
    return plain_text(next(each for each in PANELS if each.name == panel).draw(step, options))
