"""The measurement of what is located: it can fail, and what it plants is where it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from placements.catalogue import cell_of
from placements.measure import Case, Outcome, cases, compared, measure, setup_of, subject_of, table
from placements.placing import Place, placed, teacher_places
from tests.locate.subjects import looked_into
from workbench.faults.bench import tiny_bench
from workbench.faults.catalogue import BY_NAME


@pytest.fixture(scope="module")
def place() -> Place:
    """Output projection of layer 1 in prefill."""
    return next(
        replace(each, row=2)
        for each in teacher_places(setup_of("float32").pair, "prefill")
        if each.name == "teacher.layers.1.attention_output"
    )


@pytest.fixture(scope="module")
def outcome(place: Place) -> Outcome:
    return measure(Case("row", "float32", (place,)))


def test_an_error_is_noticed_named_and_placed(outcome: Outcome) -> None:
    assert outcome.is_noticed
    assert outcome.is_named
    assert outcome.is_placed
    assert outcome.named == ("teacher.layers.1.attention_output 0",)


@pytest.mark.parametrize(
    ("name", "row", "is_named"),
    [
        ("teacher.layers.1.attention_output", 2, True),
        ("teacher.layers.1.attention_output", 3, True),
        ("teacher.layers.1.mlp_norm", 2, False),
    ],
)
def test_an_error_elsewhere_than_was_said_does_not_count(
    place: Place, name: str, row: int, is_named: bool
) -> None:
    located = looked_into(subject_of(setup_of("float32"), placed(place)), "prefill")
    claimed = replace(place, name=name, row=row)
    assert compared(located, (claimed,)) == (is_named, claimed == place)


def test_every_operator_layer_and_stage_is_planted() -> None:
    every = list(cases(0))
    assert len(every) >= 200
    names = {(place.stage, place.name) for case in every for place in case.places}
    assert {stage for stage, _ in names} == {"prefill", "verify", "draft"}
    for layer in range(4):
        assert ("verify", f"teacher.layers.{layer}.attention") in names
    assert ("draft", "drafter.midlayer.mlp_output") in names
    assert [case.places for case in cases(0)][:20] == [case.places for case in every][:20]


def test_the_table_counts_what_was_not_found(outcome: Outcome) -> None:
    missed = replace(outcome, is_named=False, is_placed=False)
    line = table([outcome, missed])[2]
    assert line == "| float32 | row | 2 | 2 | 1 (50.0%) | 1 (50.0%) | 0 | - |"


def test_a_fault_of_the_catalogue_has_a_cell() -> None:
    bench = tiny_bench()
    assert cell_of(BY_NAME["next-kv-head"], bench).startswith("attention of the teacher, layer")
    assert cell_of(BY_NAME["parent-renamed"], bench) == "tensorize: the finding itself"
