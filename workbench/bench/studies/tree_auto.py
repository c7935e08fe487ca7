"""The chosen tree against the best fixed one: at most 5 per cent slower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tracing.settings import DecodeSettings
from workbench.bench.studies.lab import Lab, Measured, refused, speed_table
from workbench.bench.tables import Plot, Series, Study
from workbench.lockstep.choice.tree import shape_name

CHAINS: Final = (2, 3, 4, 5, 6, 7, 8, 10)
TREES: Final = (
    *((6, 3, 2), (8, 4, 2), (8, 6, 2), (12, 6, 2), (8, 4, 4), (12, 5, 3), (16, 4, 4), (16, 5, 4), (16, 7, 4)),
    *((20, 7, 4), (24, 6, 4), (32, 6, 4), (32, 7, 6), (64, 6, 8), (60, 7, 10)),
)
BOUNDED: Final = ((8, 6, 2, 0.15), (10, 8, 2, 0.15), (12, 9, 2, 0.15), (10, 8, 1, 0.15))
"""Trees whose search may end early."""
LIMIT: Final = 0.95


def fixed_trees(max_top_k: int) -> list[DecodeSettings]:
    """Return the fixed settings of the sweep."""
    chains = [DecodeSettings(tree_nodes=d + 1, depth=d - 1, top_k=1) for d in CHAINS]
    trees = [DecodeSettings(tree_nodes=n, depth=d, top_k=k) for n, d, k in TREES if k <= max_top_k]
    bounded = [
        DecodeSettings(tree_nodes=n, depth=d, top_k=k, stop_below=bound)
        for n, d, k, bound in BOUNDED
        if k <= max_top_k
    ]
    return [*chains, *trees, *bounded]


def measure(lab: Lab) -> Study:
    """Measure the chosen tree and all fixed ones side by side."""
    fixed = fixed_trees(lab.session.max_top_k)
    chosen = shape_name(lab.choices.settings)
    shapes = {shape_name(one): one for one in (*fixed, lab.choices.settings)}
    measured = lab.side_by_side({name: lab.speculative(one) for name, one in shapes.items()})
    ranked = sorted(measured, key=lambda one: -one.speedup)
    ours = next(one for one in measured if one.name == chosen)
    best = ranked[0]
    share = ours.speedup / best.speedup
    verdict = "within" if share >= LIMIT else "NOT within"
    return Study(
        name="tree-auto",
        title="The chosen tree against fixed ones",
        text=(
            f"Chosen {chosen}: {ours.speedup:.3f}. Best of {len(shapes)}: {best.name} at {best.speedup:.3f}.",
            f"The chosen tree reaches {100 * share:.1f} % of the best: {verdict} 5 %.",
        ),
        tables=(speed_table("Fixed settings, fastest first", "tree (nodes/depth/top_k)", ranked),),
        plots=(
            Plot(
                "bar",
                "Speedup of fixed trees and the chosen one",
                "nodes/depth/top_k",
                "speedup",
                (
                    Series("fixed", *_bars([one for one in ranked if one is not ours])),
                    Series("chosen", *_bars([ours])),
                ),
                level=1.0,
            ),
        ),
        num_refused=refused(measured),
    )


def _bars(measured: Sequence[Measured]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    return tuple(one.name for one in measured), tuple(one.speedup for one in measured)
