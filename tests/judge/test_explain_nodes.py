"""Scores of a draft without a search: which standard mistake gives them, and from which node on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from workbench.judge.draft_nodes import DraftNodes
from workbench.judge.evidence import LevelTruth, NodeTruth
from workbench.judge.explain import closest, first_changed
from workbench.judge.explain_nodes import node_hypotheses, node_scores
from workbench.judge.explain_scores import log_softmax

ROWS = log_softmax(np.random.default_rng(5).normal(scale=3.0, size=(3, 12)))
SAMPLES = (ROWS + 1e-6, ROWS - 1e-6)
TRUTH = NodeTruth(
    rows=LevelTruth(truth=ROWS, samples=SAMPLES, arbiter={}), row_of=np.array([0, 0, 0, 1, 1, 2])
)
NODES = DraftNodes.of(np.array([0, 4, 7, 2, 9, 5]), np.array([0, 0, 0, 1, 2, 3]), np.arange(12))


def named(scores: np.ndarray) -> tuple[str, int | None]:
    wrong = node_scores(NODES, scores, TRUTH, "float32")
    found = closest(wrong, node_hypotheses(NODES, wrong, TRUTH))
    if found is None:
        return "", None
    return found.clause, first_changed(found.values, wrong.truth, wrong.value)


def by(rows: np.ndarray) -> np.ndarray:
    return NODES.cumulative(rows, TRUTH.row_of)


@pytest.mark.parametrize(
    ("clause", "scores", "first"),
    [
        ("the score by the rows in reverse order", lambda: by(ROWS[::-1]), 0),
        ("the score by the rows one place on", lambda: by(np.roll(ROWS, 1, axis=0)), 0),
        ("the score by the rows one place back", lambda: by(np.roll(ROWS, -1, axis=0)), 0),
        ("the score at temperature 0.5", lambda: by(log_softmax(ROWS * 2)), 0),
        (
            "its own log-probability without its parent's score",
            lambda: by(ROWS) - by(ROWS)[NODES.parents] * (np.arange(6) > 0),
            2,
        ),
    ],
)
def test_a_standard_mistake_is_named(clause: str, scores: Callable[[], np.ndarray], first: int) -> None:
    assert named(scores()) == (clause, first)


def test_right_scores_and_scores_of_another_kind_are_not_named() -> None:
    assert named(by(ROWS)) == ("", None)
    assert named(by(ROWS) - np.arange(6)) == ("", None)
