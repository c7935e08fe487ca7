"""Results as files: JSON for programs, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Any, Final

from workbench.bench.stats import distinct_share, mean, plain
from workbench.bench.summary import by_proposer, summarize
from workbench.bench.tables import Study
from workbench.bench.turn import TurnResult

COLUMNS: Final[Mapping[str, Callable[[TurnResult], Any]]] = {
    "prompt_id": attrgetter("case.prompt_id"),
    "turn": attrgetter("case.turn"),
    "repetition": attrgetter("repetition"),
    "proposer": attrgetter("proposer"),
    "name": attrgetter("case.name"),
    "kind": attrgetter("case.kind"),
    "prompt_tokens": attrgetter("num_prompt_tokens"),
    "new_tokens": lambda result: len(result.baseline.token_ids),
    "first": attrgetter("first"),
    "baseline_seconds": attrgetter("baseline.seconds"),
    "baseline_first_token_seconds": attrgetter("baseline.first_token_seconds"),
    "baseline_tokens_per_second": attrgetter("baseline.tokens_per_second"),
    "speculative_seconds": attrgetter("speculative.seconds"),
    "speculative_first_token_seconds": attrgetter("speculative.first_token_seconds"),
    "speculative_tokens_per_second": attrgetter("speculative.tokens_per_second"),
    "speedup": attrgetter("speedup"),
    "choice": attrgetter("speculative.choice"),
    "steps": lambda result: len(result.speculative.num_accepted),
    "mean_accepted": lambda result: plain(mean(result.speculative.uncut)),
    "distinct_4grams": lambda result: distinct_share(result.baseline.token_ids),
    "match": attrgetter("match.kind"),
    "why": attrgetter("match.why"),
}
"""Columns of `turns.csv`, and how each is read from a turn."""


def results_json(
    results: Sequence[TurnResult], studies: Sequence[Study], manifest: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything but the turns themselves as plain data."""
    return {
        "manifest": dict(manifest),
        "summaries": {name: plain(asdict(summarize(part))) for name, part in by_proposer(results).items()},
        "studies": [study.as_json() for study in studies],
    }


def turns_csv(results: Sequence[TurnResult]) -> str:
    """Return one line per measured turn."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([read(result) for read in COLUMNS.values()] for result in results)
    return text.getvalue()
