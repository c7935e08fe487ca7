"""Official EAGLE step tensors become columns that every rule accepts; rules see what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from invariants.context import RunContext
from invariants.outcome import Violated
from invariants.run import check_step
from tests.cli.conftest import Specwb
from tracing.errors import ShapeMismatchError
from tracing.reader import open_run
from tracing.recorder import open_trace
from workbench.adapters.eagle import accept_columns, tree_columns, verify_columns

VOCAB = 50
LENGTH = 20


def official_step(
    parents: list[int], seed: int = 0, length: int = LENGTH, root: int | None = None
) -> dict[str, Any]:
    """Build the tensors of a step as they are documented: a float mask grown row by row, depth as row sum
    minus one, one row of node numbers per leaf with -1 behind it, and a greedy walk over gathered logits."""
    generator = torch.Generator().manual_seed(seed)
    num_nodes = len(parents)
    mask = torch.zeros(num_nodes, num_nodes)
    mask[0, 0] = 1
    for node in range(1, num_nodes):
        mask[node] = mask[parents[node]]
        mask[node, node] = 1
    depths = (mask.sum(1) - 1).long()
    leaves = [node for node in range(num_nodes) if node not in parents[1:]]
    rows = torch.full((len(leaves), int(depths.max()) + 1), -1)
    for place, leaf in enumerate(leaves):
        path = [leaf]
        while path[-1] != 0:
            path.append(parents[path[-1]])
        rows[place, : len(path)] = torch.tensor(path[::-1])
    tokens = torch.randperm(VOCAB, generator=generator)[:num_nodes][None]
    if root is not None:
        tokens[0, 0] = root
    logits = torch.randn(1, num_nodes, VOCAB, generator=generator)
    for node in range(1, num_nodes, 2):  # every other node is what the teacher says after its parent
        logits[0, parents[node], tokens[0, node]] += 10 + node
    candidates = torch.cat([tokens[0], torch.tensor([-1])])[rows]
    chosen = logits[0].argmax(-1)[rows]
    match = (candidates[:, 1:] == chosen[:, :-1]).int().cumprod(1).sum(1)
    best = int(match.argmax())
    accepted = int(match[best])
    return {
        "draft_tokens": tokens,
        "retrieve_indices": rows,
        "tree_mask": mask[None, None],
        "tree_position_ids": depths,
        "tree_logits": logits,
        "best_candidate": best,
        "accept_length": accepted,
        "next_token": int(chosen[best, accepted]),
        "committed_len": length,
    }


TREE = ("draft_tokens", "retrieve_indices", "tree_mask", "tree_position_ids", "committed_len")
ACCEPT = (
    *("draft_tokens", "retrieve_indices", "best_candidate", "accept_length"),
    *("next_token", "committed_len"),
)


def columns_of(step: dict[str, Any]) -> dict[str, Any]:
    return {
        **tree_columns(**{name: step[name] for name in TREE}),
        **verify_columns(step["tree_logits"]),
        **accept_columns(**{name: step[name] for name in ACCEPT}),
    }


def violated(step: dict[str, Any]) -> set[str]:
    row = {"prompt_id": 0, "turn": 0, "step": 0, **columns_of(step)}
    said = check_step(row, context=RunContext(vocab_size=VOCAB))
    return {outcome.rule for outcome in said if isinstance(outcome, Violated)}


@st.composite
def level_order_parents(draw: st.DrawFn) -> list[int]:
    num_nodes = draw(st.integers(2, 16))
    parents = [0, 0]
    for node in range(2, num_nodes):
        parents.append(draw(st.integers(parents[-1], node - 1)))
    return parents


@given(level_order_parents(), st.integers(0, 1000))
@settings(max_examples=40)
def test_every_official_step_is_legal(parents: list[int], seed: int) -> None:
    step = official_step(parents, seed)
    assert columns_of(step)["parents"].tolist() == parents
    assert violated(step) == set()


PARENTS = [0, 0, 0, 1, 1, 2, 3]


def with_cell(name: str, place: Any, value: Any) -> dict[str, Any]:
    step = official_step(PARENTS, 1)
    step[name] = step[name].clone()
    step[name][place] = value
    return step


@pytest.mark.parametrize(
    ("step", "rule"),
    [
        (with_cell("tree_mask", (0, 0, 4, 3), 1), "MASK001"),  # a sibling leaks
        (with_cell("tree_mask", (0, 0, 6, 1), 0), "MASK002"),  # an ancestor is hidden
        (with_cell("tree_position_ids", 5, 3), "TREE004"),  # a depth is off by one
        (with_cell("retrieve_indices", (1, 1), 1), "TREE001"),  # a node is on no row
        (with_cell("retrieve_indices", (0, 1), 99), "IDX001"),  # a node that is not there
    ],
)
def test_tensors_that_disagree_are_seen(step: dict[str, Any], rule: str) -> None:
    assert rule in violated(step)


def test_a_walk_past_the_leaf_is_seen() -> None:
    """Accepting one node more than the teacher chose leaves the path, or disagrees with the choice."""
    step = official_step(PARENTS, 1)
    step["accept_length"] = min(step["accept_length"] + 1, step["retrieve_indices"].shape[1] - 1)
    assert violated(step) & {"ACC001", "ACC002", "ACC004"}


def test_wrong_shapes_are_refused() -> None:
    step = official_step(PARENTS, 1)
    for name, value in (("tree_mask", torch.ones(3, 3)), ("retrieve_indices", torch.zeros(7))):
        with pytest.raises(ShapeMismatchError, match=name):
            columns_of(step | {name: value})
    with pytest.raises(ShapeMismatchError, match="best_candidate"):
        columns_of(step | {"best_candidate": 50})


def test_recorded_steps_are_checked_and_replayed(specwb: Specwb, tmp_path: Path) -> None:
    length, root = LENGTH, None
    with open_trace(tmp_path / "run", engine="EAGLE", manifest={"limits": {"vocab_size": VOCAB}}) as trace:
        for number in range(4):
            step = official_step(PARENTS, number, length, root)
            with trace.step(step=number) as open_step:
                open_step.record(**columns_of(step))
            length, root = length + step["accept_length"] + 1, step["next_token"]
    assert open_run(tmp_path / "run").path("fused").num_steps == 4
    answer = specwb("check", tmp_path / "run")
    assert answer.exit_code == 0, answer.out
    assert np.array_equal(open_run(tmp_path / "run").path("fused").step(0)["parents"], PARENTS)
    replayed = specwb("replay", tmp_path / "run")
    assert replayed.exit_code == 0, replayed.out
