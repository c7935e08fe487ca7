"""A drafter that is sure and wrong is suspected; an unsure, a right, a brief and a proud one are not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.judge.calibration import Calibration, DraftTree

PARENTS = (0, 0, 0, 1, 1)


def steps(
    count: int, accepted: tuple[int, ...], probability: float, *, cut: bool = False, distinct: bool = True
) -> Calibration:
    """Return what `count` equal steps add up to: each node's children have `probability` together."""
    half = math.log(probability / 2)
    logprobs = np.asarray([0.0, half, half, 2 * half, 2 * half])
    calibration = Calibration()
    for number in range(count):
        tree = DraftTree([number, *range(1, 5)] if distinct else [0] * 5, PARENTS, logprobs)
        calibration.add(tree, accepted, cut=cut)
    return calibration


def test_sums_are_of_the_nodes_on_the_walk() -> None:
    one = steps(1, (1,), 0.8)
    assert (one.tried, one.accepted) == (2, 1)
    assert one.expected == pytest.approx(1.6)
    leaf = steps(1, (1, 3), 0.8)
    assert (leaf.tried, leaf.accepted) == (2, 2)
    assert steps(1, (1,), 0.8, cut=True).tried == 1


def test_a_sure_and_wrong_drafter_is_suspected() -> None:
    sentence = steps(60, (), 0.9).suspicion()
    assert sentence is not None
    assert "expect 54 acceptances at 60 nodes, 0 were seen" in sentence


@pytest.mark.parametrize(
    "calm",
    [
        steps(60, (1, 3), 0.9),  # right and sure
        steps(400, (), 0.02),  # random weights: unsure and wrong
        steps(10, (), 0.9),  # too few steps to tell
        steps(900, (), 0.9, distinct=False),  # a text that loops shows one thing, often
        steps(200, (1,), 0.99),  # proud: right at the first level
        Calibration(),
    ],
)
def test_others_are_not(calm: Calibration) -> None:
    assert calm.suspicion() is None
