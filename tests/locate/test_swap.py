"""Fused operators swapped for eager ones: which of them mend a run, and which break an eager one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import pytest

from tests.locate.subjects import setup_of, subject_of
from tracing.finding import Finding
from tracing.moment import Moment
from tracing.stages import DecodePath, Stages
from workbench.faults.placement import Placement, within
from workbench.fused.path import make_path
from workbench.locate.swap import Decode, Swapped, swapped
from workbench.locate.swap_text import swap_lines
from workbench.locate.swapping import SwapReport, swap
from workbench.locate.variants import NETWORKED, Eager, Unit, Variants
from workbench.locate.ways import CHAIN, ONE_ROW, REPREFILL
from workbench.lockstep.decoded_again import found_again

UNITS = tuple(Unit(name, stage) for name in ("attention", "norm", "rotary") for stage in NETWORKED)


def _decode(broken: Callable[[Collection[Unit]], int | None]) -> Decode:
    """Return runs whose first error is at the step that `broken` gives for the units left fused."""

    def decode(eager: Eager, last: tuple[int, int, int] | None) -> Finding | None:
        step = broken(set(UNITS) - eager)
        if step is None or (last is not None and (0, 0, step) > last):
            return None
        return Finding("numeric", "fused", Moment(0, 0, step, "verify", 1), "logits", rule="X")

    return decode


def test_one_unit_is_found_with_its_stage() -> None:
    found = swapped(UNITS, _decode(lambda fused: 2 if Unit("rotary", "draft") in fused else None))
    assert found.mending == found.breaking == (frozenset({Unit("rotary", "draft")}),)
    rows = {row.name: (row.eager is None, row.fused is None) for row in found.rows}
    assert rows["everything"] == (True, False)
    assert rows["rotary"] == rows["draft"] == (True, False)
    assert rows["attention"] == rows["norm"] == rows["prefill"] == rows["verify"] == (False, True)
    assert found.conclusion == "eager, it mends the run: rotary in draft"


def test_an_operator_that_is_wrong_in_all_its_stages_is_named_once() -> None:
    found = swapped(UNITS, _decode(lambda fused: 0 if any(u.operator == "norm" for u in fused) else None))
    assert found.conclusion == "eager, it mends the run: norm"


def test_two_faults_are_found_as_two_also_where_the_second_shows_later() -> None:
    first, second = Unit("attention", "verify"), Unit("norm", "prefill")

    def broken(fused: Collection[Unit]) -> int | None:
        return 1 if first in fused else 4 if second in fused else None

    found = swapped(UNITS, _decode(broken))
    assert found.mending == (frozenset({first, second}),)
    assert set(found.breaking) == {frozenset({first}), frozenset({second})}
    assert found.last == (0, 0, 4)
    assert "2 operators are wrong" in found.conclusion


def test_what_is_wrong_only_together_is_found_as_a_pair() -> None:
    pair = {Unit("attention", "verify"), Unit("rotary", "verify")}
    found = swapped(UNITS, _decode(lambda fused: 0 if pair <= set(fused) else None))
    assert {frozenset({each}) for each in pair} == set(found.mending)
    assert found.breaking == (frozenset(pair),)
    assert found.conclusion.startswith("wrong only together: attention in verify with rotary in verify")


def test_what_eager_operators_share_is_no_operators_fault() -> None:
    found = swapped(UNITS, _decode(lambda _: 0))
    assert not found.mending
    assert "share" in found.conclusion
    assert found.shared is not None


def test_what_is_shared_and_shows_later_leaves_what_was_mended() -> None:
    unit = Unit("norm", "draft")
    found = swapped(UNITS, _decode(lambda fused: 0 if unit in fused else 3))
    assert found.mending == (frozenset({unit}),)
    assert found.shared is not None
    assert found.shared.moment.step == 3


def test_a_run_that_holds_is_not_swapped() -> None:
    found = swapped(UNITS, _decode(lambda _: None))
    assert found.num_runs == 1
    assert found.conclusion == "the run held: nothing to mend"


def test_a_port_is_swapped_as_a_whole() -> None:
    made: list[frozenset[str]] = []
    path = DecodePath(name="port", stages=Stages(), begin=lambda _: None)

    def make(operators: frozenset[str]) -> DecodePath:
        made.append(operators)
        return replace(path, info={"eager": sorted(operators)})

    variants = Variants(make, by_stage=False)
    assert {each.stage for each in variants.units(frozenset())} == {""}
    mixed = variants.path(frozenset({Unit("norm"), Unit("attention")}))
    assert mixed.info["eager"] == ["attention", "norm"]
    assert set(made) == {frozenset({"norm", "attention"})}


def _scaled(operator: Callable[..., Any], *given: Any, **options: Any) -> Any:
    output, lse = operator(*given, **options)
    return (output * 1.2, lse) if output.shape[1] > 1 else (output, lse)


def _swapped(placement: Placement) -> SwapReport:
    setup = setup_of(max_new_tokens=6)

    def make(eager: frozenset[str]) -> Any:
        return placement.path(
            make_path(setup.pair, setup.settings, device=setup.device, dtype=setup.dtype, eager=eager)
        )

    with placement.around():
        subject = replace(subject_of(setup, placement), path=make(frozenset()))
        found = found_again(
            subject.path,
            subject.runner,
            subject.options,
            subject.turns,
            context=setup.context,
            dtype=setup.dtype,
        )
        first = next((each for each in found if each.severity == "error"), None)
        return swap(subject, Variants(make), setup.context, first)


@pytest.fixture(scope="module")
def report() -> SwapReport:
    """Attention of verify scales the output of calls with more than one row."""
    return _swapped(within("verify", "npu_fused_infer_attention_score")(_scaled))


def test_an_operator_of_our_path_is_swapped_in_the_stage_where_it_is_wrong(report: SwapReport) -> None:
    assert report.swapped.mending == (frozenset({Unit("attention", "verify")}),)
    assert report.swapped.breaking == report.swapped.mending


def test_the_row_is_computed_in_every_way_fused_and_eager(report: SwapReport) -> None:
    assert report.ways is not None
    right = {way.name: (way.error["as it is"] or 0) <= 1 for way in report.ways.ways}
    # The root is a chain of one row: a call that is right.
    assert {way for way in right if way != CHAIN and right[way]} == {ONE_ROW, REPREFILL}
    assert right[CHAIN] == (report.ways.ways[2].num_rows == 1)
    assert all((way.error["eager"] or 0) <= 1 for way in report.ways.ways)
    assert report.ways.meaning["eager"] == "every way is right"


def test_matrix_and_ways_are_told(report: SwapReport) -> None:
    text = "\n".join(swap_lines(report.swapped, report.ways))
    assert "attention in verify" in text
    assert "everything" in text
    assert "one row" in text
    assert Swapped(None).conclusion in "\n".join(swap_lines(Swapped(None), None))
