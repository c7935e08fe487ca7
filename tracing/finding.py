"""A finding: one wrong thing, where, both values, and the rule that decided. Data, never an exception."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from tracing.moment import Moment

VERDICTS: Final = (
    "ok",
    "near_tie",
    "numeric",
    "structural",
    "nondeterministic",
    "inconclusive",
)
"""What a comparison can say, in the words of the report."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One wrong thing.

    Attributes:
        verdict: One of `VERDICTS`.
        guilty: `fused`, `reference`, `both` or `unknown`; for a rule on one path, that path.
        prompt_id, turn, step, stage, node: Where (`Moment`); node None when no single node is meant.
        column: Trace column or judged quantity, e.g. `position_ids`, `logits`.
        fused: Value on the fused path, as short text or a number.
        reference: Value expected or found on the reference path.
        allowance: What rule 3 allowed, in units of the value; None for exact rules.
        gap: How far apart the two values are, in the same units.
        rule: Id of the invariant, comparison or operator rule that decided.
        message: One sentence for a person.
        severity: `error` or `warning`.
        consequence: True when an earlier finding of the same run may have caused it.
        path: The path on which an invariant found it, or empty.
    """

    verdict: str
    guilty: str
    prompt_id: int
    turn: int
    step: int
    stage: str
    column: str
    node: int | None = None
    fused: int | float | str | None = None
    reference: int | float | str | None = None
    allowance: float | None = None
    gap: float | None = None
    rule: str = ""
    message: str = ""
    severity: str = "error"
    consequence: bool = False
    path: str = ""

    @property
    def moment(self) -> Moment:
        """Where it is, in the form that `specwb view` opens."""
        return Moment(self.prompt_id, self.turn, self.step, self.stage, self.node)

    def as_json(self) -> dict[str, Any]:
        """Return plain data for `findings.jsonl`; NaN and Inf become text, as JSON has neither."""
        return {
            key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }
