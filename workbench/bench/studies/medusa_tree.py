"""Search for a static tree: grown from measured accuracies, or from whole paths, against published trees."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracing.settings import DecodeSettings
from tracing.static_tree import RankPath, named_trees, static_tree
from workbench.bench.choices import CHOICES_FILE, calibration_prompts, choices_file
from workbench.bench.stats import mean
from workbench.bench.studies.lab import COLUMNS, Lab, Measured, cells, refused
from workbench.bench.tables import Plot, Series, Study, Table
from workbench.fused.path import path_over
from workbench.lockstep.choice.heads import (
    accepted,
    accuracies,
    fan,
    grow,
    grow_together,
    record_ranks,
    written,
)
from workbench.lockstep.choice.static import PUBLISHED, static_settings

SIZES: Final = (4, 8, 16, 32, 64)
"""Nodes, the root included."""


def measure(lab: Lab) -> Study:
    """Grow trees from calibration texts, decode the study's contexts with each, and write the fastest."""
    session, num_heads = lab.session, lab.session.pair.drafter.num_heads
    path = path_over(
        session.engine(static_settings(written(fan(num_heads)), DecodeSettings()), lab.choices.eager)
    )
    limit = max(session.max_new_tokens, num_heads + 2)
    texts = [record_ranks(path, prompt, limit, num_heads) for prompt in calibration_prompts(session)]
    trees = {name: static_tree(tree) for name, tree in _trees(lab, texts).items()}
    entries = {
        name: session.speculative(
            session.engine(static_settings(written(paths), DecodeSettings()), lab.choices.eager)
        )
        for name, paths in trees.items()
    }
    measured = sorted(lab.side_by_side(entries), key=lambda one: -one.speedup)
    best = measured[0].name
    lab.write(CHOICES_FILE, choices_file(written(trees[best])))
    predicted = {name: mean(accepted(texts, paths)) for name, paths in trees.items()}
    rows = tuple(
        (one.name, len(trees[one.name]) + 1, max(map(len, trees[one.name])), predicted[one.name], *cells(one))
        for one in measured
    )
    return Study(
        name="medusa-tree",
        title="Static trees",
        text=(
            "By head: the node with the greatest product of accuracies comes next, as Medusa's authors grow.",
            "By path: the paths that were right most often as wholes.",
            f"Both grow from {sum(map(len, texts))} tokens of calibration texts.",
            f"Fastest: {best}; {CHOICES_FILE} holds its choices, for specwb diff --static-tree FILE.",
        ),
        tables=(
            Table(
                "Static trees, fastest first",
                ("tree", "nodes", "depth", "accepted, calibration", *COLUMNS),
                rows,
            ),
        ),
        plots=(_plot(measured, {name: len(paths) + 1 for name, paths in trees.items()}),),
        num_refused=refused(measured),
    )


def _trees(lab: Lab, texts: list[np.ndarray]) -> dict[str, str]:
    """Return every tree to try, written out."""
    ranks = np.concatenate(texts)
    accuracy, num_heads = accuracies(ranks), lab.session.pair.drafter.num_heads
    trees: dict[str, str] = {}
    for size in SIZES:
        grown: dict[str, list[RankPath]] = {
            f"by head, {size}": grow(accuracy, size - 1),
            f"by path, {size}": grow_together(ranks, size - 1),
        }
        trees |= {name: written(paths) for name, paths in grown.items() if paths}
    for name in PUBLISHED:
        if max(map(len, static_tree(name))) <= num_heads:
            trees[name] = named_trees()[name]
    chosen = lab.choices.settings.static_tree
    if chosen not in {*trees, *trees.values()}:
        trees["chosen"] = chosen
    return trees


def _plot(measured: list[Measured], sizes: dict[str, int]) -> Plot:
    series = []
    for kind in ("by head", "by path"):
        points = sorted((sizes[one.name], one.speedup) for one in measured if one.name.startswith(kind))
        series.append(Series(kind, tuple(x for x, _ in points), tuple(y for _, y in points)))
    others = [one for one in measured if not one.name.startswith("by ")]
    series.append(
        Series("others", tuple(sizes[one.name] for one in others), tuple(one.speedup for one in others))
    )
    return Plot("line", "Speedup over the size of the tree", "nodes", "speedup", tuple(series), level=1.0)
