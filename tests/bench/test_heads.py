"""Trees that grow from how often Medusa heads are right: recorded ranks are those of a real decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tracing.errors import UsageError
from tracing.stages import DecodePath, IntArray, NullWatch
from tracing.static_tree import WIDTH, read_choices, static_tree
from workbench.bench.choices import choices_file
from workbench.faults.bench import Setup, tiny_bench
from workbench.fused.path import make_path
from workbench.lockstep.choice.heads import (
    accepted,
    accuracies,
    fan,
    grow,
    grow_together,
    record_ranks,
    written,
)
from workbench.lockstep.choice.static import static_settings
from workbench.lockstep.engine.step import run_prefill, run_step
from workbench.lockstep.engine.under_test import PathUnderTest

RANKS = np.array([[0, 0, 1], [0, 1, 0], [2, 0, WIDTH], [0, 0, 0], [WIDTH, 0, 0]])
EAGER = frozenset({"attention", "norm", "rotary", "swiglu"})
NUM_TOKENS = 24


@pytest.fixture(scope="module")
def setup() -> Setup:
    return tiny_bench().setup("medusa")


def test_accuracies_are_shares_of_rows() -> None:
    found = accuracies(RANKS)
    assert found.shape == (3, WIDTH)
    assert found[:, 0].tolist() == [0.6, 0.8, 0.6]
    assert found[0, 2] == pytest.approx(0.2)
    assert found.sum(1).tolist() == pytest.approx([0.8, 1.0, 0.8])


def test_the_product_of_accuracies_decides_what_grows() -> None:
    accuracy = np.zeros((3, WIDTH))
    accuracy[0, :2], accuracy[1, :2], accuracy[2, :1] = (0.5, 0.3), (0.9, 0.1), (0.5,)
    assert grow(accuracy, 5) == [(0,), (0, 0), (1,), (1, 0), (0, 0, 0)]
    assert len(static_tree(written(grow(accuracy, 5)))) == 5


@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_no_tree_of_whole_paths_accepts_less_at_each_row_than_one_of_heads(size: int) -> None:
    by_row = [row[None] for row in RANKS]
    together = grow_together(RANKS, size)
    static_tree(written(together))  # every path behind the one above it
    assert sum(accepted(by_row, together)) >= sum(accepted(by_row, grow(accuracies(RANKS), size)))


def path_with(setup: Setup, paths: str) -> DecodePath:
    return make_path(setup.pair, static_settings(paths, setup.settings), eager=EAGER)


@pytest.fixture(scope="module")
def recorded(setup: Setup) -> IntArray:
    return record_ranks(path_with(setup, written(fan(3))), setup.prompt, NUM_TOKENS, 3)


@pytest.mark.parametrize("size", [3, 12, 30])
def test_ranks_tell_what_a_tree_really_accepts(setup: Setup, recorded: IntArray, size: int) -> None:
    """Catches heads in the wrong order, a text shifted against its drafts, a step that begins a row late."""
    paths = grow_together(recorded, size)
    running = PathUnderTest.begin(path_with(setup, written(paths)), NullWatch())
    run_prefill(running, setup.prompt)
    row, real = 0, []
    while row < len(recorded):
        real.append(len(run_step(running, 1 << 20).accepted.accepted_nodes))
        row += real[-1] + 1
    assert accepted([recorded], paths) == real
    assert max(real) > 0
    assert len(recorded) == NUM_TOKENS - 2


def test_a_file_of_choices_is_the_tree_again(tmp_path: Path) -> None:
    tree = "0 1 0.0 0.1 0.0.0"
    (tmp_path / "choices.json").write_text(choices_file(tree))
    assert static_tree(read_choices(tmp_path / "choices.json")) == static_tree(tree)
    (tmp_path / "paths.txt").write_text("0 1\n0.0\n")
    assert static_tree(read_choices(tmp_path / "paths.txt")) == ((0,), (1,), (0, 0))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[0], 1]", "lists of ranks"),
        ("[[0.5]]", "lists of ranks"),
        ("[[true]]", "lists of ranks"),
        ("[" * 5000, "lists of ranks"),
        ("[[0]]" + " " * 200_000, "no static tree is as large"),
    ],
)
def test_another_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "choices.json").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_choices(tmp_path / "choices.json")
