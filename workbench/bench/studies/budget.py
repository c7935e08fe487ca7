"""The budget sweep: speed over tree nodes and over depth, and chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tracing.settings import DecodeSettings
from workbench.bench.studies.lab import COLUMNS, Lab, Measured, cells, refused, speed_plot
from workbench.bench.tables import Plot, Study, Table
from workbench.lockstep.choice.tree import shape_name

NODES: Final = (16, 32, 64, 128, 256)
MAX_DEPTHS: Final = (4, 8, 10, 12, 16)
"""The paper's Dmax; our `depth` counts the expansions after the first level, one less."""
SWEPT_NODES: Final = 64
SWEPT_DEPTH: Final = 10
CHAINS: Final = (2, 3, 4, 5, 6, 8, 10)


def shapes(max_top_k: int) -> dict[str, list[DecodeSettings]]:
    """Return the trees of each sweep."""
    top_k = min(10, max_top_k)
    return {
        "nodes": [DecodeSettings(tree_nodes=n, depth=SWEPT_DEPTH - 1, top_k=top_k) for n in NODES],
        "depth": [DecodeSettings(tree_nodes=SWEPT_NODES, depth=d - 1, top_k=top_k) for d in MAX_DEPTHS],
        "chain": [DecodeSettings(tree_nodes=d + 1, depth=d - 1, top_k=1) for d in CHAINS],
    }


def measure(lab: Lab) -> Study:
    """Measure all sweeps side by side."""
    sweeps = shapes(lab.session.max_top_k)
    sweeps["chosen"] = [lab.choices.settings]
    entries = {shape_name(one): lab.speculative(one) for sweep in sweeps.values() for one in sweep}
    measured = lab.side_by_side(entries)
    found = {one.name: one for one in measured}
    chosen = found[shape_name(lab.choices.settings)]
    best = max(measured, key=lambda one: one.speedup)
    return Study(
        name="budget",
        title="Tree budgets",
        text=(
            f"Fastest: {best.name} at {best.speedup:.2f}; chosen: {chosen.name} at {chosen.speedup:.2f}.",
            "Below 1, speculation loses against teacher-only decoding.",
        ),
        tables=tuple(_table(name, sweep, found) for name, sweep in sweeps.items()),
        plots=(
            _plot("Speed over tree nodes, max depth 10", "tree nodes", sweeps["nodes"], found, nodes=True),
            _plot("Speed over max depth, 64 nodes", "max depth", sweeps["depth"], found),
            _plot("Speed of chains over their length", "max depth", sweeps["chain"], found),
        ),
        num_refused=refused(measured),
    )


TITLES: Final = {
    "nodes": "Nodes, at max depth 10 (the paper's Table 2)",
    "depth": "Max depth, at 64 nodes (the paper's Table 2)",
    "chain": "Chains, one candidate per level",
    "chosen": "The tree of the main measurement",
}


def _table(name: str, sweep: Sequence[DecodeSettings], found: dict[str, Measured]) -> Table:
    rows = tuple(
        (shape_name(one), one.tree_nodes, one.depth + 1, *cells(found[shape_name(one)])) for one in sweep
    )
    return Table(TITLES[name], ("tree", "nodes", "max depth", *COLUMNS), rows)


def _plot(
    title: str,
    label: str,
    sweep: Sequence[DecodeSettings],
    found: dict[str, Measured],
    *,
    nodes: bool = False,
) -> Plot:
    x = [one.tree_nodes if nodes else one.depth + 1 for one in sweep]
    return speed_plot("line", title, label, x, [found[shape_name(one)] for one in sweep], accepted=True)
