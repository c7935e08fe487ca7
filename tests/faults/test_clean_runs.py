"""Clean runs are silent, over every pair of shape, dtype, commit mode, rung, KV layout and prompt."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clean.shipped import ShippedJob, shipped_jobs, shipped_run
from tracing.settings import PROPOSERS
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.shipped import PROMPTS, shipped_pair_dirs, shipped_prompt
from workbench.faults.bench import NEEDS, tiny_bench
from workbench.faults.experiment import run_lockstep
from workbench.faults.placement import Placement
from workbench.judge.recorded.check import check_run
from workbench.lockstep.session.prompts import read_prompts

PLAIN = tiny_bench().setup("plain")
SHAPES: dict[str, dict[str, Any]] = {
    "bushy": {"tree_nodes": 12, "depth": 3, "top_k": 4},
    "padded": {"tree_nodes": 16, "depth": 0, "top_k": 4},
    "chain": {"tree_nodes": 5, "depth": 3, "top_k": 1},
    "two nodes": {"tree_nodes": 2, "depth": 0, "top_k": 1},
    "binary": {"tree_nodes": 9, "depth": 4, "top_k": 2},
    "ended early": {"tree_nodes": 9, "depth": 5, "top_k": 2, "stop_below": 0.3},
}
DTYPES = ("float32", "bfloat16", "float16")
MODES = ("fast_reorder", "full_reorder", "length")
RUNGS = ("masked", "cached", "replay")
LAYOUTS = ("contiguous", "paged")
TEXTS: dict[str, tuple[int, ...]] = {
    "five tokens": (7, 19, 3, 50, 21),
    "one token": (9,),
    "up to a block's border": tuple(3 + place * 7 % 60 for place in range(126)),
}
AXES: tuple[tuple[str, ...], ...] = (tuple(SHAPES), DTYPES, MODES, RUNGS, LAYOUTS, tuple(TEXTS))


def pairs(row: tuple[str, ...]) -> set[Any]:
    return set(itertools.combinations(enumerate(row), 2))


def cover() -> list[tuple[str, ...]]:
    """Rows that hold every pair of values of two axes, each row taken for the pairs it adds."""
    every = list(itertools.product(*AXES))
    left = set().union(*map(pairs, every))
    rows = []
    while left:
        rows.append(max(every, key=lambda row: len(pairs(row) & left)))
        left -= pairs(rows[-1])
    return rows


COVER = cover()


def test_the_cover_is_pairwise_and_small() -> None:
    assert set().union(*map(pairs, COVER)) == set().union(*map(pairs, itertools.product(*AXES)))
    assert len(COVER) < 25


@pytest.mark.parametrize("row", COVER, ids="-".join)
def test_a_clean_run_has_no_finding(tmp_path: Path, row: tuple[str, ...]) -> None:
    shape, dtype, mode, rung, layout, text = row
    settings = replace(PLAIN.settings, max_new_tokens=6, commit_mode=mode, kv_layout=layout, **SHAPES[shape])
    setup = replace(PLAIN, settings=settings, dtype=dtype, rung=rung, prompt=TEXTS[text])
    outcome = run_lockstep(setup, Placement(), tmp_path / "run")
    assert outcome.findings == ()
    assert len(outcome.emitted) == 6
    assert check_run(tmp_path / "run").findings == ()


@pytest.mark.parametrize("need", NEEDS)
def test_what_a_fault_needs_is_no_fault_itself(tmp_path: Path, need: str) -> None:
    """Long, padded, tied, ended: each special run is silent without a fault in it."""
    outcome = run_lockstep(tiny_bench().setup(need), Placement(), tmp_path / "run")
    assert outcome.findings == ()


@pytest.mark.parametrize("proposer", [kind for kind in PROPOSERS if kind != "eagle3"])
@pytest.mark.parametrize(
    ("prompt", "dtype", "layout"), [("prose.txt", "float32", "paged"), ("code.txt", "bfloat16", "contiguous")]
)
def test_every_shipped_drafter_is_silent(proposer: str, prompt: str, dtype: str, layout: str) -> None:
    """Two of all combinations; `make clean-shipped` runs the others."""
    seen = shipped_run(ShippedJob(proposer, prompt, dtype, layout, 4))
    assert seen.alarms == ()
    assert seen.num_steps > 0


def test_all_that_ships_is_combined() -> None:
    jobs = shipped_jobs(24)
    assert len({job.about for job in jobs}) == len(jobs) == len(PROPOSERS) * len(PROMPTS) * 2 * 2


@pytest.mark.parametrize(("number", "prompt"), list(enumerate(PROMPTS)), ids=PROMPTS)
def test_shipped_prompts_are_silent(tmp_path: Path, number: int, prompt: str) -> None:
    """The first turn of each on the shipped pair, over the layouts and commit modes in turn."""
    loaded = load_pair(*shipped_pair_dirs())
    (first,) = read_prompts(str(shipped_prompt(prompt)))
    settings = replace(
        PLAIN.settings, max_new_tokens=8, commit_mode=MODES[number % 3], kv_layout=LAYOUTS[number % 2]
    )
    setup = replace(
        PLAIN,
        pair=loaded.pair,
        prompt=tuple(loaded.tokenizer.encode(first.texts[0])),
        settings=replace(settings, tree_nodes=24, depth=4, top_k=6),
        rung="cached",
        token_bytes=loaded.tokenizer.token_bytes,
    )
    outcome = run_lockstep(setup, Placement(), tmp_path / "run")
    assert outcome.findings == ()
    assert check_run(tmp_path / "run").findings == ()
