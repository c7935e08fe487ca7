"""Why operators and tree were chosen, as studies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.bench.tables import Plot, Series, Study, Table
from workbench.lockstep.choice.heads import accuracies
from workbench.lockstep.choice.kernels import Kernels, eager_name
from workbench.lockstep.choice.static import PUBLISHED, StaticTrees
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
        text=(
            f"Chosen: {eager_name(kernels.eager)}.",
            f"For teacher-only decoding: {eager_name(kernels.greedy_eager)}.",
        ),
        tables=(Table("Time per token", ("operators", "greedy ms", "speculative ms"), rows),),
    )


def tree_study(chosen: Chosen, name: str) -> Study:
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
        name=name,
        title="The chosen tree",
        text=(
            f"Chosen: {shape_name(chosen.settings)}: nodes/depth/top_k, depth is expansions after the first.",
            f"A token of greedy decoding takes {1e3 * costs.token:.2f} ms.",
            "Predicted: accepted + 1 tokens in the time of one draft and one verification.",
            "The best trees of different width, some chains and trees of other sizes were then measured.",
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


def static_study(found: StaticTrees, name: str) -> Study:
    """Return why a static tree was chosen, and how good the heads are."""
    accuracy = accuracies(np.concatenate(found.ranks))
    finals = {one.name: seconds for one, seconds in found.measured}
    rows = tuple(
        (
            one.name,
            len(one.tree.split()) + 1,
            one.num_accepted,
            1e3 * one.step_seconds,
            found.token / one.token_seconds,
            1e3 * finals[one.name] if one.name in finals else None,
            found.token / finals[one.name] if one.name in finals else None,
        )
        for one in found.entries
    )
    heads = tuple(
        (number + 1, *(float(row[:top].sum()) for top in (1, 2, 5, len(row))))
        for number, row in enumerate(accuracy)
    )
    grown = sorted((one for one in found.entries if one.name not in PUBLISHED), key=lambda one: len(one.tree))
    sizes = tuple(len(one.tree.split()) + 1 for one in grown)
    return Study(
        name=name,
        title="The static tree of the Medusa heads",
        text=(
            f"Chosen: {found.measured[0][0].name}.",
            f"A token of teacher-only decoding takes {1e3 * found.token:.2f} ms.",
            "Trees grow node by node by the product of the measured accuracies of the heads on their path.",
            f"Accuracies: {sum(map(len, found.ranks))} tokens of {len(found.ranks)} calibration texts.",
        ),
        tables=(
            Table(
                "Static trees, the best by prediction first",
                (
                    "tree",
                    "nodes",
                    "accepted",
                    "step ms",
                    "predicted",
                    "token ms measured",
                    "speedup measured",
                ),
                rows,
                "predicted and measured speedups leave prefill out; only the best were decoded with",
            ),
            Table("Accuracy by head", ("head", "its best", "two best", "five best", "all ten"), heads),
        ),
        plots=(
            Plot(
                "line",
                "Grown trees: accepted tokens and predicted speedup",
                "nodes",
                "accepted tokens; speedup",
                (
                    Series("accepted", sizes, tuple(one.num_accepted for one in grown)),
                    Series(
                        "predicted speedup", sizes, tuple(found.token / one.token_seconds for one in grown)
                    ),
                ),
                level=1.0,
            ),
        ),
    )


def lookup_study(measured: Sequence[tuple[str, float]], name: str) -> Study:
    """Return why a prompt lookup was chosen."""
    return Study(
        name=name,
        title="Prompt lookup",
        text=(f"Chosen: at most {measured[0][0]}, by the rule of transformers.",),
        tables=(
            Table(
                "Prompt lookup, fastest first",
                ("looked up", "token ms"),
                tuple((entrant, 1e3 * seconds) for entrant, seconds in measured),
            ),
        ),
    )
