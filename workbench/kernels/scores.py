"""KernelScores as the public benchmark publishes them, and ours beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean
from typing import Any, Final

from workbench.kernels.reports import KernelReport

WEIGHTS: Final = {1: 0.2, 2: 0.3, 3: 0.5}
"""Of the levels in the final score; where a level has no operator the others share its weight."""


@dataclass(frozen=True, slots=True)
class KernelScores:
    """KernelScores from 0 to 100, of operators, levels and all.

    Attributes:
        by_kernel: Share of cases passed.
        by_level: Mean of a level's operators.
        final: Levels weighted.
    """

    by_kernel: Mapping[str, float]
    by_level: Mapping[int, float]
    final: float

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "by_kernel": dict(self.by_kernel),
            "by_level": {str(level): score for level, score in self.by_level.items()},
            "final": self.final,
        }


def scores(reports: Sequence[KernelReport], *, published: bool) -> KernelScores:
    """Score operators by cases passed; one that does not build has none.

    Args:
        reports: One for each operator.
        published: By the public rules, which know no other rule of ours; otherwise by ours.
    """
    by_kernel, levels = {}, defaultdict(list)
    for report in reports:
        passed = [
            result.published is not None and result.published.passed if published else result.passed
            for result in report.results
        ]
        by_kernel[report.kernel] = 100.0 * fmean(passed) if passed else 0.0
        levels[report.level].append(by_kernel[report.kernel])
    by_level = {level: fmean(levels[level]) for level in sorted(levels)}
    weight = sum(WEIGHTS[level] for level in by_level)
    final = sum(WEIGHTS[level] * score for level, score in by_level.items()) / weight if weight else 0.0
    return KernelScores(by_kernel, by_level, final)


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """Return the chance that at least one of k samples, drawn without replacement, passes.

    Source: the unbiased estimate of Chen et al., 2021 (arXiv 2107.03374), section 2.1.
    """
    if num_samples - num_passed < k:
        return 1.0
    return 1.0 - comb(num_samples - num_passed, k) / comb(num_samples, k)


def sampled(reports: Sequence[KernelReport]) -> dict[str, dict[str, float]]:
    """Return pass@k of each operator over the candidates that stand for it, for k up to their number."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for report in reports:
        groups[report.kernel].append(report.correctness.status == "passed")
    return {
        kernel: {f"pass@{k}": pass_at_k(len(passed), sum(passed), k) for k in range(1, len(passed) + 1)}
        for kernel, passed in groups.items()
        if len(passed) > 1
    }
