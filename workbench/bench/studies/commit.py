"""Replication and commit of the teacher's cache: copies against increments, full against fast reorder."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workbench.bench.stats import Distribution
from workbench.bench.studies.lab import Lab, refused, speed_plot, speed_table
from workbench.bench.studies.stages import stage_times
from workbench.bench.tables import Study, Table
from workbench.fused.engine import Engine
from workbench.fused.path import path_over

MODES: Final = (
    ("incremental", "fast_reorder"),
    ("incremental", "full_reorder"),
    ("incremental", "length"),
    ("deepcopy", "fast_reorder"),
    ("deepcopy", "full_reorder"),
)


def measure(lab: Lab) -> Study:
    """Measure every mode side by side on the longest contexts, then its stages apart."""
    engines = {f"{copy}, {mode}": _engine(lab, copy, mode) for copy, mode in MODES}
    cases = sorted(lab.all_cases, key=lambda case: -len(case.token_ids))[: lab.num_cases]
    decoders = {name: lab.session.speculative(engine) for name, engine in engines.items()}
    measured = lab.side_by_side(decoders, cases)
    stages = {name: stage_times(lab, path_over(engine), cases[:2])[0] for name, engine in engines.items()}
    rows = tuple(
        (
            name,
            1e3 * Distribution.of(times["verify"]).mean,
            1e3 * Distribution.of(times["commit"]).mean,
            1e3 * Distribution.of(times["commit"]).p99,
        )
        for name, times in stages.items()
    )
    names = tuple(one.name for one in measured)
    return Study(
        name="commit",
        title="Commit modes",
        text=(
            f"The {len(cases)} longest contexts.",
            "`deepcopy` copies the whole committed cache at every step, as the paper's implementation does.",
            "`incremental` copies the rows that a branch lacks.",
            "`length` adopts the first rows of a branch; where they are not the path, the full reorder runs.",
        ),
        tables=(
            speed_table("Replication and commit", "mode", measured),
            Table(
                "Stages, measured apart",
                ("mode", "verify ms, replication included", "commit ms", "commit p99 ms"),
                rows,
            ),
        ),
        plots=(speed_plot("bar", "Speedup by commit mode", "", names, measured),),
        num_refused=refused(measured),
    )


def _engine(lab: Lab, replication: str, commit_mode: str) -> Engine:
    settings = replace(lab.engine.settings, commit_mode=commit_mode)
    return replace(lab.engine, replication=replication, settings=settings)
