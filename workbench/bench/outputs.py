"""Results as files: JSON for programs, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from workbench.bench.stats import distinct_share, finite, mean
from workbench.bench.summary import summarize
from workbench.bench.tables import Study
from workbench.bench.turn import TurnResult

COLUMNS: Final = (
    "prompt_id",
    "turn",
    "repetition",
    "name",
    "kind",
    "prompt_tokens",
    "new_tokens",
    "first",
    "baseline_seconds",
    "baseline_first_token_seconds",
    "baseline_tokens_per_second",
    "speculative_seconds",
    "speculative_first_token_seconds",
    "speculative_tokens_per_second",
    "speedup",
    "steps",
    "mean_accepted",
    "distinct_4grams",
    "match",
    "why",
)


def results_json(
    results: Sequence[TurnResult], studies: Sequence[Study], manifest: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything but the turns themselves as plain data."""
    return {
        "manifest": dict(manifest),
        "summary": summarize(results).as_json(),
        "studies": [study.as_json() for study in studies],
    }


def turns_csv(results: Sequence[TurnResult]) -> str:
    """Return one line per measured turn."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(result) for result in results)
    return text.getvalue()


def _row(result: TurnResult) -> tuple[Any, ...]:
    baseline, speculative = result.baseline, result.speculative
    return (
        result.case.prompt_id,
        result.case.turn,
        result.repetition,
        result.case.name,
        result.case.kind,
        result.num_prompt_tokens,
        len(baseline.token_ids),
        result.first,
        baseline.seconds,
        baseline.first_token_seconds,
        baseline.tokens_per_second,
        speculative.seconds,
        speculative.first_token_seconds,
        speculative.tokens_per_second,
        result.speedup,
        len(speculative.num_accepted),
        finite(mean(speculative.uncut)),
        distinct_share(baseline.token_ids),
        result.match.kind,
        result.match.why,
    )
