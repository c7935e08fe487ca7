"""How far back the drafter's heads attend most: buckets of distances by head, by depth, by prompt length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tracing.settings import DecodeSettings
from workbench.bench.choices import with_tree
from workbench.bench.studies.lab import Lab
from workbench.bench.tables import Plot, Series, Study, Table
from workbench.bench.turn import BenchCase
from workbench.fused.path import path_over
from workbench.judge.turn_state import TurnState
from workbench.lockstep.choice.tree import shape_name
from workbench.lockstep.engine.step import begin_turn, steps_of_turn
from workbench.lockstep.engine.under_test import PathUnderTest
from workbench.lockstep.recording.offsets import OffsetProbe
from workbench.view.distance_table import DistanceTable, bucket_names

Rows = dict[str, NDArray[np.int64]]
"""Name of a line to its counts by bucket."""
TREE: Final = DecodeSettings(tree_nodes=60, depth=7, top_k=10)
"""Wide, so that many rows attend: the default of the official algorithm."""
LENGTHS: Final = ((0, 127), (128, 511), (512, None))


def measure(lab: Lab) -> Study:
    """Probe the draft attention of some contexts; nothing here is timed."""
    table = DistanceTable()
    by_length: dict[str, DistanceTable] = defaultdict(DistanceTable)
    for case in lab.cases():
        for offsets, depths in _offsets(lab, case):
            table.add(offsets, depths)
            by_length[_length_name(len(case.token_ids))].add(offsets, depths)
        lab.tick()
    names = bucket_names(table.edges)
    far = _shares(table.by_head.sum(axis=0))
    order = [_length_name(low) for low, _ in LENGTHS]
    lengths: Rows = {name: by_length[name].by_head.sum(axis=0) for name in order if name in by_length}
    heads: Rows = {f"head {head}": counts for head, counts in enumerate(table.by_head)}
    levels: Rows = {f"depth {depth}": counts for depth, counts in enumerate(table.by_depth)}
    parts = (("by head", heads), ("by depth of the expanded node", levels), ("by prompt length", lengths))
    share = (
        f"{100 * far[-1]:.1f} % of all distances fall in {names[-1]}" if far.size else "nothing was probed"
    )
    return Study(
        name="distance",
        title="How far back the drafter attends",
        text=(
            f"Tree {shape_name(TREE)}. Distance from a drafted row to the key that a head weighs most.",
            "Distances are recomputed from the queries and keys that the drafter's attention was given.",
            f"{table.num_steps} steps; {share}. The paper's Figure 7 names `256_plus` as a frequent one.",
        ),
        tables=tuple(_table(title, rows, names) for title, rows in parts),
        plots=tuple(_plot(title, rows, names) for title, rows in parts),
    )


def _offsets(lab: Lab, case: BenchCase) -> Sequence[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """Decode one context; returns distances `[n, H]` and depths `[n]` of each step."""
    probe = OffsetProbe()
    running = PathUnderTest.begin(path_over(with_tree(lab.engine, TREE)), probe)
    turn_state = TurnState(0, 0, lab.session.max_new_tokens)
    begin_turn(running, turn_state, case.token_ids, lab.engine.eos_token_ids)
    found = []
    for step in steps_of_turn(running, turn_state):
        search = step.drafted.beam_search()
        offsets = None if search is None else probe.take(search.flat_ids, len(search.token_ids))
        if search is not None and offsets is not None:
            found.append((offsets, search.depths))
    return found


def _length_name(length: int) -> str:
    low, high = next(each for each in LENGTHS if each[1] is None or length <= each[1])
    return f"prompt {low} or more" if high is None else f"prompt {low} to {high}"


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    total = counts.sum()
    return counts / total if total else np.zeros(counts.shape)


def _table(title: str, rows: Rows, names: Sequence[str]) -> Table:
    filled = {name: counts for name, counts in rows.items() if counts.sum()}
    return Table(
        f"Share of distances, {title}",
        ("", "distances", *names),
        tuple((name, int(c.sum()), *map(float, _shares(c))) for name, c in filled.items()),
    )


def _plot(title: str, rows: Rows, names: Sequence[str]) -> Plot:
    filled = {name: counts for name, counts in rows.items() if counts.sum()}
    series = tuple(
        Series(bucket, tuple(filled), tuple(float(_shares(counts)[i]) for counts in filled.values()))
        for i, bucket in enumerate(names)
    )
    return Plot("stack", f"Share of distances, {title}", "", "share", series)
