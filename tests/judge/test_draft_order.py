"""A draft without scores: the tokens under a node are the best of its row, or as good within rounding."""

from __future__ import annotations

import numpy as np
import pytest

from tracing.moment import Moment
from workbench.judge.draft_nodes import DraftNodes
from workbench.judge.draft_order import judge_node_order
from workbench.judge.evidence import LevelTruth, NodeTruth
from workbench.judge.notes import Notes

TRUTH = np.log(np.array([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]]))
NOISE = 1e-3


def judged(tokens: list[int], parents: list[int], row_of: list[int], *, num_judged: int = 99) -> Notes:
    notes = Notes(Moment(0, 0, 0), "draft", "float32")
    nodes = DraftNodes.of(np.array(tokens), np.array(parents), np.array([10, 11, 12, 13]))
    samples = (TRUTH + NOISE, TRUTH - NOISE)
    judge_node_order(
        notes,
        nodes,
        NodeTruth(rows=LevelTruth(truth=TRUTH, samples=samples), row_of=np.array(row_of)),
        num_judged,
    )
    return notes


@pytest.mark.parametrize(
    ("tokens", "parents", "row_of", "wrong"),
    [
        ([11, 10, 13], [0, 0, 1], [-1, 0, 1], []),
        ([11, 11, 13], [0, 0, 1], [-1, 0, 1], [1]),
        ([11, 10, 12], [0, 0, 1], [-1, 0, 1], [2]),
        ([11, 10, 11, 13], [0, 0, 0, 1], [-1, 0, 0, 1], []),
        ([11, 11, 10, 13], [0, 0, 0, 2], [-1, 0, 0, 1], []),  # siblings in another order
        ([11, 10, 12, 13], [0, 0, 0, 1], [-1, 0, 0, 1], [2]),
        ([11, 99, 12], [0, 0, 1], [-1, 0, 1], [2]),  # not in the draft vocabulary
    ],
)
def test_a_better_token_left_out_is_named(
    tokens: list[int], parents: list[int], row_of: list[int], wrong: list[int]
) -> None:
    findings = judged(tokens, parents, row_of).judgement().findings
    assert [each.moment.node for each in findings] == wrong
    assert {each.rule for each in findings} <= {"JUDGE-DRAFT-CANDIDATES"}


def test_nodes_past_the_last_position_are_not_judged() -> None:
    assert not judged([11, 10, 12], [0, 0, 1], [-1, 0, 1], num_judged=2).judgement().findings


def test_a_token_as_good_within_rounding_is_a_near_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    close = TRUTH.copy()
    close[1, 2] = close[1, 3] - NOISE / 10
    monkeypatch.setattr(f"{__name__}.TRUTH", close)
    judgement = judged([11, 10, 12], [0, 0, 1], [-1, 0, 1]).judgement()
    assert not judgement.findings
    (tie,) = judgement.near_ties
    assert (tie.moment.node, tie.fused, tie.reference) == (2, 12, 13)
