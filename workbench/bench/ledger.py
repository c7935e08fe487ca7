"""What choosing for each request costs, beside the published ledger, as a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from workbench.bench.tables import Study, Table
from workbench.lockstep.choice.orchestrator import PUBLISHED, PUBLISHED_REQUEST, Routed


def ledger_study(routed: Sequence[Routed], proposers: Mapping[str, str]) -> Study:
    """Return what choosing for each request cost, beside the published ledger, and what was chosen.

    Args:
        routed: Requests that were chosen for.
        proposers: Kind of drafter of each choice.
    """
    whole = sum(each.seconds for each in routed)
    spent = {name: sum(each.overhead.as_json()[name] for each in routed) for name in PUBLISHED.as_json()} | {
        "all": sum(each.overhead.total for each in routed)
    }
    published = {**PUBLISHED.as_json(), "all": PUBLISHED.total}
    rows = tuple(
        (name, spent[name] / len(routed), 0.1 * spent[name] / whole, ms, 100 * ms / PUBLISHED_REQUEST)
        for name, ms in published.items()
    )
    counts = Counter((each.decision.rule, each.decision.choice) for each in routed)
    chosen = tuple(
        (rule, choice, proposers.get(choice, ""), count, 100 * count / len(routed))
        for (rule, choice), count in counts.most_common()
    )
    return Study(
        name="auto",
        title="Who drafts, request by request",
        text=(
            f"{len(routed)} requests; choosing took {0.1 * spent['all'] / whole:.2f} % of their time.",
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
