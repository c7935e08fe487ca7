"""The outcome of a judged run: the one value that every report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracing.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a run found.

    Attributes:
        verdict: One of `tracing.finding.VERDICTS`.
        remark: What qualifies the verdict, e.g. `tree mask not exercised`; may be empty.
        exit_code: 0 all held, 1 findings, 2 unreadable input, 4 inconclusive.
        steps: Steps decoded on the fused path.
        unjudged_steps: Steps that were decoded but, as asked, not judged.
        emitted_token_ids: One list per turn, in order, the first root included.
        emitted_text: The same as text.
        num_accepted: A of every uncut fused step.
        near_ties: Proven near ties.
        routing_near_ties: Those among them that are choices of experts.
        findings: All findings, in order.
        invariants: Outcomes counted: `held`, `violated`, `not_checked`.
        not_checked: What was not looked at, and why -> how often.
        coverage: Counter name -> count; zero is `not exercised`.
        warnings: What both paths share and may have wrong, which no comparison decides.
        run: The folder of the trace.
        hidden: How large a mistake could have been without a finding, in a sentence; may be empty.
        could_hide: The same as plain data, by `stage.quantity`.
        quality: Of a teacher in int4: what its unquantised weights say of the text, in a sentence; or empty.
        manifest: Facts about models, backend, devices and settings.
        share: What the verdict rests on, as plain data; None where that is not known.
        leanings: What `judge.paired` measured, by stage; empty in float32.
        choices: What was chosen for each turn and why, as plain data; empty where nothing was to choose.
    """

    verdict: str
    exit_code: int
    steps: int
    emitted_token_ids: tuple[tuple[int, ...], ...]
    num_accepted: tuple[int, ...]
    near_ties: int
    findings: tuple[Finding, ...]
    invariants: Mapping[str, int]
    not_checked: Mapping[str, int]
    coverage: Mapping[str, int]
    run: Path | None
    emitted_text: tuple[str, ...] = ()
    remark: str = ""
    unjudged_steps: int = 0
    routing_near_ties: int = 0
    hidden: str = ""
    could_hide: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    quality: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    share: Mapping[str, Any] | None = None
    leanings: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[Mapping[str, Any], ...] = ()

    @property
    def mean_accepted(self) -> float | None:
        """Mean A over uncut fused steps, or None when there was none."""
        return sum(self.num_accepted) / len(self.num_accepted) if self.num_accepted else None

    @property
    def first_divergence(self) -> Finding | None:
        """The first finding of severity error, or None."""
        return next((finding for finding in self.findings if finding.severity == "error"), None)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        first = self.first_divergence
        return {
            "verdict": self.verdict,
            "remark": self.remark,
            "share": None if self.share is None else dict(self.share),
            "warnings": list(self.warnings),
            "exit_code": self.exit_code,
            "steps": self.steps,
            "unjudged_steps": self.unjudged_steps,
            "emitted_token_ids": [list(turn) for turn in self.emitted_token_ids],
            "emitted_text": list(self.emitted_text),
            "mean_accepted": self.mean_accepted,
            "near_ties": self.near_ties,
            "routing_near_ties": self.routing_near_ties,
            "run": str(self.run) if self.run else None,
            "first_divergence": first.as_json() if first else None,
            "findings": [finding.as_json() for finding in self.findings],
            "invariants": dict(self.invariants),
            "not_checked": dict(self.not_checked),
            "could_hide": dict(self.could_hide),
            "quality": self.quality or None,
            "coverage": dict(self.coverage),
            "not_exercised": [name for name, count in self.coverage.items() if count == 0],
            "manifest": dict(self.manifest),
            **({"choices": [dict(each) for each in self.choices]} if self.choices else {}),
        }
