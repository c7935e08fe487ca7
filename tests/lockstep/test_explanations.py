"""What a wrong value is instead: standard mistakes are named, others are not, and clean runs pay nothing."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

from causes.catalogue import MISTAKES
from causes.measure import measure
from causes.mistake import Mistake
from causes.twin import Twins
from examples.level_port import LevelPort, path_of
from workbench.faults.bench import tiny_bench
from workbench.faults.experiment import Setup
from workbench.judge.explain import FITTED, Hypothesis, Wrong, closest, first_changed, narrowed, rounded_to
from workbench.lockstep.staged import explain

BY_KEY = {each.key: each for each in MISTAKES}
NAMED = {
    # the map of the drafter's vocabulary
    "level/map-left-out": "the true score if the map from draft to target ids was left out",
    "level/map-read-as-offsets": "added to the draft id, as if they were offsets",
    "level/map-off-by-one": "read one entry too early",
    # what the drafter is fed, and where
    "level/features-of-the-row-before": "with the feature of the row before",
    "level/token-paired-with-its-own-feature": "with feature j and token j, not token j + 1",
    "level/fc-order-reversed": "with the taps 2, 1, 0",
    "level/features-one-node-on": "with the features of the node behind",
    "level/features-of-the-step-before": "with the features of the step before",
    "level/beams-one-position-on": "when the beams are one position further on",
    "level/drafter-rows-from-one": "its value one position further on",
    "level/hidden-of-the-first-beam": "continue from the first beam's hidden row",
    "fused/drafter-window-ignored": "its value without the drafter's window; that is so from node 3 on",
    # sums and laws
    "level/temperature-nine-tenths": "the score at temperature 0.9",
    "level/scores-not-cumulative": "the sum without the beam's own score",
    "level/logits-as-scores": "the logit itself",
    # the teacher
    "level/kernel-hides-the-root": "its value without seeing the root",
    "level/kernel-drops-one-ancestor": "its value without seeing node 1",
    "fused/mask-not-consumed": "under a causal mask in place of the tree's",
    "fused/positions-of-the-step-before": "with the position_ids of the step before",
    "level/angles-one-on-in-verify": "its value one position further on",
    "level/tree-logits-halved": "0.5 times its own",
    "fused/taps-swapped": "made of the taps 1, 0, 2",
    "level/aux-layer-off-by-one": "what leaves the tapped layers",
    "level/choices-shifted": "the choice after the node before it",
    # what is kept in a half precision, or summed by a share
    "level/keys-kept-in-half-precision": "its value rounded to float16",
    "level/key-heads-reversed": "its value with the heads in reverse order",
    "level/tree-features-in-half-precision": "its value rounded to float16",
    "level/logprobs-in-half-precision": "the sum of log-probabilities rounded to float16",
    "level/logprobs-in-bfloat16": "the sum of log-probabilities rounded to bfloat16",
    "level/scores-per-token": "the sum with 0.5 times the beam's own score",
    "level/shares-of-the-best-alone": "the score normalised over the 4 best tokens alone",
    "level/taps-interleaved": "made of interleaved taps",
    # drafts without a search
    "fused/head-logits-doubled": "the score at temperature 0.5; that is so from node 1 on",
    "fused/scores-not-summed-down": "without its parent's score; that is so from node 4 on",
}


@pytest.mark.parametrize("key", NAMED)
def test_the_standard_mistake_is_named(key: str) -> None:
    assert NAMED[key] in measure(BY_KEY[key], tiny_bench(), "float32").explanation


@pytest.mark.parametrize(
    "key", ["level/final-norm-left-out", "level/one-logit-cut", "level/theta-of-another-model"]
)
def test_a_mistake_of_another_kind_is_not_named(key: str) -> None:
    seen = measure(BY_KEY[key], tiny_bench(), "float32")
    assert seen.noticed
    assert seen.explanation == ""


def test_a_clean_run_tries_no_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    def plant(setup: Setup) -> Twins:
        right, wrong = (path_of(LevelPort(setup.pair, setup.settings, setup.dtype)) for _ in range(2))
        return Twins(right, wrong, nullcontext)

    def tried(*_: object) -> str:
        raise AssertionError

    monkeypatch.setattr(explain, "closest", tried)
    nothing = Mistake(port="level", name="nothing", family="form", plant=plant)
    assert not measure(nothing, tiny_bench(), "float32").noticed


# which hypothesis is named

VALUE = np.array([[1.0, 2.0, 3.0]])
TRUTH = VALUE + 0.5


def named(*hypotheses: Hypothesis, allowance: float = 0.1, truth: np.ndarray = TRUTH) -> str:
    allowances = np.array([allowance])
    found = closest(Wrong(VALUE, truth, allowances, allowances), hypotheses)
    return "" if found is None else found.clause


def test_the_closest_that_fits_is_named_and_one_that_does_not_fit_is_not() -> None:
    near, nearer, far = (
        Hypothesis(clause, VALUE + off) for clause, off in (("near", 0.05), ("nearer", 0.01), ("far", 0.2))
    )
    assert named(near, nearer, far) == "nearer"
    assert named(far) == named() == ""
    assert named(Hypothesis("another form", VALUE[0])) == ""
    assert named(Hypothesis("not a number", VALUE * np.nan)) == ""


def test_an_allowance_as_wide_as_the_error_names_nothing() -> None:
    """In half precision a hypothesis may fit only because anything does."""
    assert named(Hypothesis("guess", VALUE + 0.3), allowance=0.4) == ""
    assert named(Hypothesis("guess", VALUE + 0.05), allowance=0.4) == "guess"
    fitted = Hypothesis("fitted", VALUE + 0.05, clearly=FITTED)
    assert named(fitted, allowance=0.4) == ""
    assert named(fitted._replace(values=VALUE), allowance=0.4) == "fitted"
    assert named(fitted._replace(values=VALUE), Hypothesis("guess", VALUE + 0.05)) == "guess"


def narrow(value: np.ndarray, truth: np.ndarray) -> list[str]:
    allowances = np.full(len(value), 1e-9)
    return [each.clause for each in narrowed(Wrong(value, truth, allowances, allowances))]


def test_values_of_a_half_precision_next_to_the_truth_are_named_by_the_coarser_one() -> None:
    truth = np.random.default_rng(3).normal(size=(4, 8)).astype(np.float32).astype(np.float64)
    half = truth.astype(np.float16).astype(np.float64)
    assert np.array_equal(rounded_to(truth, 13), half)
    assert narrow(half, truth) == ["its value rounded to float16"]
    assert narrow(rounded_to(truth, 16), truth) == ["its value rounded to bfloat16"]
    assert narrow(truth, truth) == [], "all bits are used"
    assert narrow(half + 1.0, truth) == [], "another value in few bits"
    assert narrow(half[:1, :4], truth[:1, :4]) == [], "too few to tell"
    assert narrow(half * np.nan, truth) == []


def test_the_truth_may_be_unknown_there() -> None:
    assert named(Hypothesis("guess", VALUE), truth=VALUE * np.nan) == "guess"


def test_the_first_row_that_a_hypothesis_changes() -> None:
    truth = np.arange(12.0).reshape(4, 3)
    assert first_changed(truth, truth, truth) is None
    changed = truth.copy()
    changed[1:, 1] += 1
    assert first_changed(truth * (1 + 1e-7), truth, changed) is None
    assert first_changed(changed, truth, changed) == 1
    value = truth.copy()
    value[3, 1] += 1
    assert first_changed(changed, truth, value) == 3, "where the path is right the hypothesis does not hold"
