"""What choosing for each request costs, beside the published ledger, as a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.bench.tables import Study, Table
from workbench.lockstep.choice.orchestrator import PUBLISHED, PUBLISHED_REQUEST


def ledger_study(requests: Sequence[Mapping[str, Any]], proposers: Mapping[str, str]) -> Study:
    """Return what choosing for each request cost, beside the published ledger, and what was chosen.

    Args:
        requests: As `Routed.as_json` gives them, at least one.
        proposers: Kind of drafter of each choice.
    """
    whole, count = sum(each["seconds"] for each in requests), len(requests)
    spent = {name: sum(each["overhead_ms"][name] for each in requests) for name in PUBLISHED.as_json()}
    spent["all"] = sum(spent.values())
    published = {**PUBLISHED.as_json(), "all": PUBLISHED.total}
    rows = tuple(
        (name, spent[name] / count, 0.1 * spent[name] / whole, ms, 100 * ms / PUBLISHED_REQUEST)
        for name, ms in published.items()
    )
    counts = Counter((each["rule"], each["choice"]) for each in requests)
    chosen = tuple(
        (rule, choice, proposers.get(choice, ""), number, 100 * number / count)
        for (rule, choice), number in counts.most_common()
    )
    return Study(
        name="auto",
        title="Who drafts, request by request",
        text=(
            f"{count} requests; choosing took {0.1 * spent['all'] / whole:.2f} % of their time.",
            "The published ledger is A-IO's (arXiv 2604.09752), of a 7B request of 1,200 ms.",
        ),
        tables=(
            Table(
                "What choosing costs",
                ("part", "ms a request", "% of the request", "published ms", "published %"),
                rows,
            ),
            Table("What was chosen", ("rule", "choice", "proposer", "requests", "%"), chosen),
        ),
    )
