"""Why operators and tree were chosen, as studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from workbench.bench.tables import Plot, Series, Study, Table
from workbench.lockstep.choice.kernels import Kernels, eager_name
from workbench.lockstep.choice.orchestrator import PUBLISHED, PUBLISHED_REQUEST, Routed
from workbench.lockstep.choice.tree import Chosen, Prediction, shape_name


def kernels_study(kernels: Kernels) -> Study:
    """Return why these operators were chosen."""
    rows = tuple(
        (eager_name(eager), 1e3 * greedy, 1e3 * speculative)
        for eager, (greedy, speculative) in kernels.token_seconds.items()
    )
    return Study(
        name="kernels",
        title="The chosen operators",
        text=(f"Chosen: {eager_name(kernels.eager)}; both sides use the same.",),
        tables=(Table("Time per token", ("operators", "greedy ms", "speculative ms"), rows),),
    )


def tree_study(chosen: Chosen) -> Study:
    """Return why a tree was chosen: its costs, the finalists."""
    costs = chosen.costs
    finals = tuple(
        (
            shape_name(one.settings),
            one.num_accepted,
            1e3 * one.step_seconds,
            one.speedup,
            1e3 * seconds,
            costs.token / seconds,
        )
        for one, seconds in chosen.measured
    )
    verify = tuple((nodes, 1e3 * seconds, seconds / costs.token) for nodes, seconds in costs.verify.items())
    draft = tuple((width, 1e3 * first, 1e3 * level) for width, (first, level) in costs.draft.items())
    shapes = {f"top_k {width}": width for width in costs.draft}
    return Study(
        name="tree",
        title="The chosen tree",
        text=(
            f"Chosen: {shape_name(chosen.settings)}: nodes/depth/top_k, depth is expansions after the first.",
            f"A token of greedy decoding takes {1e3 * costs.token:.2f} ms.",
            "Predicted: accepted + 1 tokens in the time of one draft and one verification.",
            "The best trees of different width, some chains and the runner-up were then measured.",
        ),
        tables=(
            Table(
                "Finalists, fastest first",
                ("tree", "accepted", "step ms", "speedup predicted", "token ms measured", "speedup measured"),
                finals,
                "prefill left out on both sides",
            ),
            Table("All of a step but the draft", ("nodes", "ms", "of a greedy token"), verify),
            Table("Draft", ("top_k", "first level ms", "each further level ms"), draft),
        ),
        plots=(
            Plot(
                "line",
                "Predicted speedup over tree nodes, best depth",
                "tree nodes",
                "speedup",
                tuple(_best_by_nodes(name, width, chosen.predictions) for name, width in shapes.items()),
                level=1.0,
            ),
        ),
    )


def _best_by_nodes(name: str, width: int, predictions: Sequence[Prediction]) -> Series:
    best: dict[int, float] = {}
    for one in predictions:
        if one.settings.top_k == width:
            nodes = one.settings.tree_nodes
            best[nodes] = max(best.get(nodes, 0.0), one.speedup)
    points = sorted(best.items())
    return Series(name, tuple(nodes for nodes, _ in points), tuple(speedup for _, speedup in points))


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
