"""Turn by turn: the right column shows what is slow, other text is refused, a rerun goes on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.bench.made import exact, flat, made_bench, plans, several
from tracing.errors import UsageError
from workbench.bench.headline import headline
from workbench.bench.measure import cases_of, run_turns
from workbench.bench.outputs import COLUMNS, turns_csv
from workbench.bench.store import ResultsFolder
from workbench.bench.studies.lab import side_by_side
from workbench.bench.summary import summarize
from workbench.bench.turn import TurnResult, turn_json


def measured(repetitions: int = 2, **options: object) -> list[TurnResult]:
    return flat(run_turns(made_bench(**options), plans(4, 6, 9), repetitions))


def test_a_slow_baseline_and_a_slow_drafter_show_in_their_own_columns() -> None:
    plain = summarize(measured())
    slow_baseline = summarize(measured(baseline=0.020))
    slow_drafter = summarize(measured(speculative=0.012))
    assert plain.ratio_of_means.value == pytest.approx(2.5)
    assert slow_baseline.ratio_of_means.value == pytest.approx(5.0)
    assert slow_baseline.speculative == plain.speculative
    assert slow_drafter.ratio_of_means.value == pytest.approx(10 / 12)
    assert slow_drafter.baseline == plain.baseline


def test_time_per_token_leaves_the_first_one_out() -> None:
    side = summarize(measured()).baseline
    assert side.first_token_seconds.mean == pytest.approx(0.010)
    assert side.seconds_per_token.mean == pytest.approx(0.010)
    assert side.tokens_per_second.mean == pytest.approx(100)


def test_who_goes_first_alternates_and_both_sides_lead_equally_often() -> None:
    bench = made_bench()
    results = flat(run_turns(bench, plans(4, 6), 2))
    assert [result.first for result in results] == ["baseline", "eagle3", "eagle3", "baseline"]
    log = bench.baseline.log
    order = [name for first in "bssb" for name in ("bs" if first == "b" else "sb")]
    assert [name[0] for name in log] == order


def test_other_text_is_refused_and_counts_for_no_speed() -> None:
    results = measured(slip_at=2)
    summary = summarize(results)
    assert (summary.num_refused, summary.num_turns) == (6, 0)
    assert math.isnan(summary.speedup.mean)
    assert headline(results, {}).num_refused == 6
    mixed = summarize([*measured(), *results])
    assert mixed.ratio_of_means.value == pytest.approx(2.5)


def test_a_later_turn_holds_the_teachers_answer() -> None:
    results = flat(run_turns(made_bench(), plans(4, turns=2), 1))
    assert [result.num_prompt_tokens for result in results] == [4, 4 + 5 + 2]
    answers = {(r.case.prompt_id, r.case.turn): r.baseline.token_ids for r in results}
    again = cases_of(plans(4, turns=2), lambda prompt_id, turn: answers.get((prompt_id, turn)))
    assert [case.token_ids for case in again] == [result.case.token_ids for result in results]


def test_contexts_of_unanswered_turns_are_left_out() -> None:
    assert [case.turn for case in cases_of(plans(4, 5, turns=2), lambda *_: None)] == [0, 0]


@pytest.mark.parametrize("stop_after", [0, 1, 3, 7])
def test_a_run_that_was_interrupted_ends_like_one_in_one_go(tmp_path: Path, stop_after: int) -> None:
    todo = plans(4, 6, turns=2)
    bench = several(eagle3=0.004, medusa=0.005)
    whole = [turn_json(results) for results in run_turns(bench, todo, 2)]
    folder = ResultsFolder(tmp_path / "run", {"suite": "made"}, {})
    for number, results in enumerate(run_turns(bench, todo, 2)):
        if number == stop_after:
            break
        folder.add(results)
    with (tmp_path / "run" / "turns.jsonl").open("a") as file:
        file.write('{"prompt_id": 1, "tu')  # the process died while it wrote
    again = ResultsFolder(tmp_path / "run", {"suite": "made"}, {})
    assert len(again.results) == 2 * stop_after
    for results in run_turns(bench, todo, 2, done=tuple(again.results)):
        again.add(results)
    kept = ResultsFolder(tmp_path / "run", {"suite": "made"}, {}).results
    assert [turn_json(pair) for pair in zip(kept[::2], kept[1::2], strict=True)] == whole


def test_results_of_another_benchmark_do_not_mix(tmp_path: Path) -> None:
    ResultsFolder(tmp_path / "run", {"dtype": "float32", "threads": 2}, {})
    with pytest.raises(UsageError, match="dtype 'float32', not 'bfloat16'"):
        ResultsFolder(tmp_path / "run", {"dtype": "bfloat16", "threads": 2}, {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        ResultsFolder(tmp_path / "mine", {}, {})


def test_a_context_that_changed_is_not_gone_on_with() -> None:
    done = flat(run_turns(made_bench(), plans(4), 1))
    with pytest.raises(UsageError, match="4 tokens of context and now has 5"):
        list(run_turns(made_bench(), plans(5), 1, done=done))


@pytest.mark.parametrize("line", ['{"prompt_id": 0}', "[]", "null", "word"])
def test_a_line_that_is_no_turn_is_told(tmp_path: Path, line: str) -> None:
    ResultsFolder(tmp_path / "run", {}, {})
    (tmp_path / "run" / "turns.jsonl").write_text(line + "\n")
    with pytest.raises(UsageError, match="no finished turn"):
        ResultsFolder(tmp_path / "run", {}, {})


def test_the_csv_has_one_line_per_measured_turn() -> None:
    lines = turns_csv(measured()).splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + 6


def test_side_by_side_takes_turns_and_refuses_other_text() -> None:
    bench, slips = made_bench(), made_bench(slip_at=1)
    cases = cases_of(plans(4, 6, 9), lambda *_: None)
    entries = {"good": bench.proposers["eagle3"], "slips": slips.proposers["eagle3"]}
    good, bad = side_by_side(bench.baseline, entries, cases, max_new_tokens=5, compare=exact)
    assert good.speedup == pytest.approx(2.5)
    assert (good.num_refused, bad.num_refused) == (0, 3)
    assert math.isnan(bad.speedup)
