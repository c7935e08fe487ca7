"""Single mistakes in three ports: a slice of the table, its twin path, and that the clean ports are clean."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from causes.__main__ import main
from causes.catalogue import MISTAKES
from causes.measure import Seen, measure
from causes.mistake import Mistake
from causes.table import render, share
from causes.twin import Twins
from examples.level_port import LevelPort, path_of
from workbench.faults.bench import tiny_bench
from workbench.faults.experiment import Setup

BENCH = tiny_bench()
SLICE = (
    *("partial/last-match-lost", "partial/root-emitted-again", "partial/kept-rows-are-positions"),
    *("level/map-left-out", "level/one-parent-its-sibling", "level/root-column-missing"),
    *("level/two-rows-exchanged", "level/rows-not-gathered", "level/scores-not-cumulative"),
    *("level/positions-of-the-step-before", "level/kernel-drops-one-ancestor"),
    *("level/last-node-a-pad", "level/tree-parents-of-the-node-before"),
    *("fused/mask-transposed", "fused/prefix-written-by-accept", "fused/taps-swapped"),
)
BY_KEY = {each.key: each for each in MISTAKES}


def test_every_mistake_has_a_name_of_its_own_and_there_are_tens_per_port() -> None:
    assert len(BY_KEY) == len(MISTAKES)
    ports = [each.port for each in MISTAKES]
    assert all(ports.count(port) > 20 for port in ("fused", "partial", "level"))


@pytest.mark.parametrize("key", SLICE)
def test_the_first_line_names_stage_node_and_path(key: str) -> None:
    seen = measure(BY_KEY[key], BENCH, "float32")
    assert seen.changed, "it changed nothing in this run"
    assert (seen.noticed, seen.stage, seen.node, seen.path) == (True, True, True, True), seen


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("need", ["plain", "pads", "eos"])
def test_the_level_port_without_a_mistake_is_clean(dtype: str, need: str) -> None:
    def plant(setup: Setup) -> Twins:
        right, wrong = (path_of(LevelPort(setup.pair, setup.settings, setup.dtype)) for _ in range(2))
        return Twins(right, wrong, nullcontext)

    nothing = Mistake(port="level", name="nothing", family="form", plant=plant, need=need)
    seen = measure(nothing, BENCH, dtype)
    assert not seen.changed
    assert not seen.noticed, seen.message


def test_the_table_counts_what_changed_something_and_lists_what_was_missed() -> None:
    right = Seen(
        key="level/a",
        family="mask",
        dtype="float32",
        changed=True,
        noticed=True,
        stage=True,
        node=True,
        path=True,
    )
    elsewhere = replace(right, key="level/b", node=False, expected="0:verify:1", headline="0:verify:2")
    silent = replace(right, key="partial/c", noticed=False, stage=False, node=False, path=False)
    same = replace(right, key="partial/d", changed=False)
    page = render([right, elsewhere, silent, same])
    assert share([right, elsewhere, silent, same], "node") == 0.5
    assert "| level | 2 | 100% | 100% | 50% | 100% |" in page
    assert "| partial | 1 | 0% |" in page
    assert [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| level/")] == [
        "| level/b"
    ]


def test_what_is_held_out_is_counted_by_itself_beside_its_first_measurement() -> None:
    known = Seen(key="level/a", family="mask", dtype="float32", changed=True)
    held = replace(known, key="level/b", held_out=True, noticed=True, stage=True, node=True, path=True)
    page = render([known, held])
    above, below = page.split("## Held out")
    assert "| level | 1 | 0% |" in above
    assert "| now | 1 | 100% | 100% | 100% | 100% |" in below
    assert "| first | 112 | 99% |" in below
    assert "## Held out" not in render([known])


def test_mistakes_that_are_held_out_are_of_all_ports_and_nearly_all_families() -> None:
    held = [each for each in MISTAKES if each.held_out]
    assert {each.port for each in held} == {"fused", "partial", "level"}
    assert len(held) > 100
    assert len({each.family for each in held}) > 15


def test_several_processes_measure_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["partial/last-match-lost", "partial/root-emitted-again"]
    for jobs in ("1", "2"):
        results = str(tmp_path / jobs)
        assert main(["--results", results, "--dtype", "float32", "--jobs", jobs, *names]) == 0
    pages = capsys.readouterr().out.split("# What the first line says")
    assert pages[1] == pages[2]


def test_what_was_measured_before_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.jsonl"
    command = ["--results", str(results), "--dtype", "float32", "partial/last-match-lost"]
    assert main(command) == 0
    first = results.read_text(encoding="utf-8")
    results.write_text(first + '{"cut of', encoding="utf-8")
    assert main(command) == 0
    assert json.loads(first)["key"] == "partial/last-match-lost"
    pages = capsys.readouterr().out.split("# What the first line says")
    assert pages[1] == pages[2]
