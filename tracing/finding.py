"""A finding: one wrong thing, where, both values, and the rule that decided. Data, never an exception."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
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
"""Outcomes of a comparison, as the report names them."""

JSON_KEYS: Final = (
    *("verdict", "guilty", "prompt_id", "turn", "step", "stage", "column", "node", "fused", "reference"),
    *("allowance", "gap", "rule", "message", "severity", "consequence", "path", "explanation"),
)
"""Keys of a finding as JSON, in the order of the file; the moment is written flat. `request` and `frames`
come last, where there are some."""

NOT_FINITE: Final = ("nan", "inf", "-inf")
"""Texts of numbers that JSON has no form for."""
IDENTITY: Final = (
    *("rule", "column", "prompt_id", "turn", "step", "stage", "node"),
    *("path", "guilty", "fused", "reference"),
)
"""Keys that two findings of the same thing have in common, whoever made them and when."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One wrong thing.

    Attributes:
        verdict: One of `VERDICTS`.
        guilty: `fused`, `reference`, `both` or `unknown`; for a rule on one path, that path.
        moment: Where; its node is None when no single node is meant.
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
        explanation: What the wrong value is instead, where one standard mistake gives it; or empty.
        frames: Places in the code under test where it came about, the innermost last, each as
            `file:line in function: code`; empty where no exception or hang is meant.
        request: The engine's name of the request that it is about, or empty.
    """

    verdict: str
    guilty: str
    moment: Moment
    column: str
    fused: int | float | str | None = None
    reference: int | float | str | None = None
    allowance: float | None = None
    gap: float | None = None
    rule: str = ""
    message: str = ""
    severity: str = "error"
    consequence: bool = False
    path: str = ""
    explanation: str = ""
    frames: tuple[str, ...] = ()
    request: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain data for `findings.jsonl`; NaN and Inf become text, as JSON has neither."""
        values = asdict(self) | asdict(self.moment)
        plain = {key: _plain(values[key]) for key in JSON_KEYS}
        if self.request:
            plain["request"] = self.request
        return plain | {"frames": list(self.frames)} if self.frames else plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """Return the finding that `as_json` wrote; other keys are left out.

        Raises:
            KeyError: A part of the moment is missing.
            TypeError: Another required key is missing.
        """
        prompt_id, turn, step, stage = (data[key] for key in ("prompt_id", "turn", "step", "stage"))
        where = Moment(prompt_id, turn, step, stage, data.get("node"))
        values = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        measured = {
            name: float(values[name]) for name in ("allowance", "gap") if values.get(name) in NOT_FINITE
        }
        return cls(moment=where, **values | measured | {"frames": tuple(data.get("frames", ()))})


def identity(finding: Finding) -> tuple[Any, ...]:
    """Return what makes a finding the same as another: rule, place, path at fault and both values.

    A check before a launch and the check of the finished row find the same thing, and so do the judge of a
    recording and a later judge of the same rows; their sentences and allowances may differ.
    """
    values = finding.as_json()
    return tuple(values[key] for key in IDENTITY)


def has_error(findings: Iterable[Finding]) -> bool:
    """Whether one of these is more than a warning."""
    return any(finding.severity == "error" for finding in findings)


def _plain(value: Any) -> Any:
    if type(value) is int and not -(2**63) <= value < 2**64:
        return f"an integer of {value.bit_length()} bits"
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
