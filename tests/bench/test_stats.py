"""Numbers mean what their names say."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict

import pytest

from tests.bench.made import plans, several
from workbench.bench.measure import run_turns
from workbench.bench.stats import Distribution, Spread, distinct_share, interval_of_mean, plain
from workbench.bench.studies.accept_pos import accept_positions
from workbench.bench.studies.length import break_even, time_ratio
from workbench.bench.summary import summarize
from workbench.bench.turn import BenchCase, Match, TurnResult, turn_from_json, turn_json
from workbench.lockstep.choice.decoders import Decoded


def test_percentiles_interpolate_linearly() -> None:
    values = Distribution.of(range(101))
    assert (values.num, values.mean, values.p50, values.p90, values.p99) == (101, 50, 50, 90, 99)
    assert Distribution.of([1, 2]).p90 == pytest.approx(1.9)


def test_nothing_is_no_number_and_still_json() -> None:
    assert math.isnan(Distribution.of([]).mean)
    assert json.loads(json.dumps(plain(asdict(Distribution.of([]))), allow_nan=False))["p99"] is None
    assert Spread.of([]).num == 0


def result(number: int, baseline: float, speculative: float, repetition: int = 0) -> TurnResult:
    """A turn of ten tokens with the given times."""
    return TurnResult(
        proposer="eagle3",
        case=BenchCase(number, 0, "made", "code", ()),
        num_prompt_tokens=4,
        repetition=repetition,
        first="baseline",
        baseline=Decoded(token_ids=tuple(range(10)), seconds=baseline, first_token_seconds=0.1),
        speculative=Decoded(
            token_ids=tuple(range(10)), seconds=speculative, first_token_seconds=0.1, num_accepted=(2, 4, 0)
        ),
        match=Match("equal"),
    )


def test_the_papers_mean_is_not_the_mean_of_ratios() -> None:
    summary = summarize([result(0, 1.0, 1.0), result(1, 1.0, 0.25)])
    assert summary.ratio_of_means.value == pytest.approx((10 + 40) / (10 + 10))
    assert summary.mean_of_ratios.value == pytest.approx((1 + 4) / 2)
    other = summarize([result(0, 1.0, 1.0), result(1, 0.1, 0.025)])
    assert other.ratio_of_means.value == pytest.approx((10 + 400) / (10 + 100))
    assert other.mean_of_ratios.value == pytest.approx(2.5)


def test_repetitions_are_told_apart_from_turns() -> None:
    summary = summarize([result(0, 1.0, 0.5, 0), result(0, 1.0, 0.4, 1), result(0, 1.0, 0.25, 2)])
    assert (summary.num_turns, summary.num_repetitions) == (1, 3)
    spread = summary.ratio_of_means
    assert (spread.low, spread.value, spread.high) == pytest.approx((2.0, 2.5, 4.0))
    assert summary.speedup.p50 == pytest.approx(2.5)


def test_acceptance_counts_each_step_once_and_not_the_cut_one() -> None:
    summary = summarize([result(0, 1.0, 0.5, 0), result(0, 1.0, 0.5, 1)])
    assert (summary.num_accepted.num, summary.num_accepted.mean) == (2, 3.0)


def test_the_curve_by_position_adds_up() -> None:
    accepted = [0, 3, 1, 3, 2, 0, 0]
    rows = accept_positions(accepted)
    assert sum(row[2] for row in rows) == pytest.approx(sum(accepted) / len(accepted))
    product = 1.0
    for _, _, cumulative, conditional in rows:
        product *= conditional
        assert product == pytest.approx(cumulative)
    assert rows[0] == (1, 7, pytest.approx(4 / 7), pytest.approx(4 / 7))
    assert accept_positions([]) == []


def test_break_even_lies_where_the_curve_crosses_one() -> None:
    assert break_even([128, 256, 512], [1.5, 1.2, 0.8]) == pytest.approx(256 * 2**0.5)
    assert break_even([128, 256], [1.5, 1.2]) is None
    assert break_even([128, 256], [0.5, 0.9]) is None
    assert break_even([128, 256], [0.5, 1.0]) == pytest.approx(256)


def test_the_time_ratio_is_a_step_over_a_token_without_prefill() -> None:
    base = Decoded(token_ids=tuple(range(11)), seconds=3.0, first_token_seconds=1.0)
    one = Decoded(
        token_ids=tuple(range(11)), seconds=2.5, first_token_seconds=1.0, num_accepted=(3, 3, 1, 0, 0)
    )
    assert time_ratio(one, base) == pytest.approx(0.3 / 0.2)
    assert time_ratio(base, base) is None


def test_a_loop_has_few_distinct_grams() -> None:
    assert distinct_share([1, 2, 3, 4, 5, 6]) == 1.0
    assert distinct_share([1, 2] * 20) < 0.1
    assert distinct_share([1]) == 1.0


def test_a_turn_survives_the_disk() -> None:
    bench = several(eagle3=0.004, lookup=0.005)
    bench.proposers["lookup"].slip_at = 3
    for turn in (*run_turns(bench, plans(4), 1), [result(0, 1.0, 0.5)]):
        again = turn_from_json(json.loads(json.dumps(turn_json(turn))))
        assert turn_json(again) == turn_json(turn)
        for one, other in zip(again, turn, strict=True):
            assert (one.baseline, one.speculative) == (other.baseline, other.speculative)
            assert (one.match, one.proposer) == (other.match, other.proposer)


def test_the_interval_of_a_mean_is_students() -> None:
    assert interval_of_mean([2.0]) is None
    low, high = interval_of_mean([1.0, 2.0]) or (0, 0)
    assert (low, high) == pytest.approx((1.5 - 12.706 * 0.5, 1.5 + 12.706 * 0.5))
    many = [float(each % 2) for each in range(31)]
    reach = 2.0423 * statistics.stdev(many) / math.sqrt(31)  # t at 30 degrees of freedom
    assert interval_of_mean(many) == pytest.approx((15 / 31 - reach, 15 / 31 + reach), abs=1e-4)
