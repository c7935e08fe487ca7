"""Clean runs are silent: every pair of tree shape, dtype, commit mode and rung, and no finding."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.faults.bench import TinyBench
from workbench.faults.experiment import run_lockstep
from workbench.faults.placement import Placement
from workbench.faults.setup import NEEDS

PLAIN = TinyBench().setup("plain")
SHAPES = {
    "bushy": {"tree_nodes": 12, "depth": 3, "top_k": 4},
    "padded": {"tree_nodes": 16, "depth": 0, "top_k": 4},
    "chain": {"tree_nodes": 5, "depth": 3, "top_k": 1},
    "two nodes": {"tree_nodes": 2, "depth": 0, "top_k": 1},
    "binary": {"tree_nodes": 9, "depth": 4, "top_k": 2},
}
DTYPES = ("float32", "bfloat16", "float16")
MODES = ("fast_reorder", "full_reorder", "length")
RUNGS = ("masked", "cached", "replay")
COVER = [
    (shape, DTYPES[turn], MODES[(number + turn) % 3], RUNGS[(number + 2 * turn) % 3])
    for number, shape in enumerate(SHAPES)
    for turn in range(3)
]


def test_the_cover_is_pairwise() -> None:
    axes = (tuple(SHAPES), DTYPES, MODES, RUNGS)
    for (one, values), (other, others) in itertools.combinations(enumerate(axes), 2):
        assert {(row[one], row[other]) for row in COVER} == set(itertools.product(values, others))


@pytest.mark.parametrize(("shape", "dtype", "mode", "rung"), COVER)
def test_a_clean_run_has_no_finding(tmp_path: Path, shape: str, dtype: str, mode: str, rung: str) -> None:
    settings = replace(PLAIN.settings, max_new_tokens=6, commit_mode=mode, **SHAPES[shape])
    outcome = run_lockstep(
        replace(PLAIN, settings=settings, dtype=dtype, rung=rung), Placement(), tmp_path / "run"
    )
    assert outcome.findings == ()
    assert len(outcome.emitted) == 6


@pytest.mark.parametrize("need", NEEDS)
def test_what_a_fault_needs_is_no_fault_itself(tmp_path: Path, need: str) -> None:
    """Long, padded, tied, ended: each special run is silent without a fault in it."""
    outcome = run_lockstep(TinyBench().setup(need), Placement(), tmp_path / "run")
    assert outcome.findings == ()
