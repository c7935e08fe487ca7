"""When an alarm over a whole run is raised; a user changes these in `[tool.specwb.thresholds]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tracing.errors import UsageError

SHARES: Final = (
    *("min_rate_before_cliff", "max_fall", "max_identical_share"),
    *("max_share_of_rest", "max_share_of_promise"),
)
"""Limits between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits of the statistics rules.

    Attributes:
        min_steps: Steps that must have been seen before a run rule says anything.
        min_rate_before_cliff: Acceptance rate at a depth that makes zero at the next depth a cliff.
        max_fall: Share of the mean acceptance that may be lost between short and long, early and late.
        min_deviations: Standard errors that such a fall must exceed, so that chance does not raise it.
        max_share_of_rest: Acceptance of one request or band, as a share of the rest's, that is a collapse.
        max_share_of_promise: Acceptance, as a share of what the drafter promises, that is far below it.
        error_rate: How often chance may raise one of these two alarms, per axis and run.
        max_identical_share: Share of steps whose drafts may all be the same token.
    """

    min_steps: int = 32
    min_rate_before_cliff: float = 0.3
    max_fall: float = 0.5
    min_deviations: float = 4.0
    max_share_of_rest: float = 0.25
    max_share_of_promise: float = 0.33
    error_rate: float = 1e-4
    max_identical_share: float = 0.5

    def __post_init__(self) -> None:
        if self.min_steps < 1:
            raise UsageError(f"min_steps should be at least 1, got {self.min_steps}")
        if not 0.0 < self.error_rate < 1.0:
            raise UsageError(f"error_rate should be above 0 and below 1, got {self.error_rate}")
        for name in SHARES:
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise UsageError(f"{name} should be between 0 and 1, got {value}")
        if not self.min_deviations >= 0.0:
            raise UsageError(f"min_deviations should not be negative, got {self.min_deviations}")
