"""Every fault of the catalogue, on the tiny pair: noticed, by a rule named for it, where it was placed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tracing.errors import UsageError
from tracing.stages import Tensorized
from workbench.faults.bench import tiny_bench
from workbench.faults.catalogue import BY_NAME, CATALOGUE
from workbench.faults.fault import Fault
from workbench.faults.matrix import read_column, render
from workbench.faults.placement import Placement, Scene, after
from workbench.faults.run import Sighting, run_fault

BENCH = tiny_bench()


def describe(sighting: Sighting) -> str:
    fault = sighting.fault
    return f"expected {fault.noticed_by} at {fault.stage} by {fault.guilty}, got {sighting.first}"


@pytest.mark.parametrize("fault", CATALOGUE, ids=lambda fault: fault.name)
def test_the_fault_is_noticed_as_named(tmp_path: Path, fault: Fault) -> None:
    sighting = run_fault(fault, BENCH, tmp_path)
    assert sighting.as_expected, describe(sighting)


NOTHING = replace(BY_NAME["sibling-leak"], name="nothing", placed=lambda _: Placement())
"""A fault that changes nothing: whoever notices it notices clean runs too."""


def test_a_fault_that_is_none_is_not_noticed(tmp_path: Path) -> None:
    sighting = run_fault(NOTHING, BENCH, tmp_path)
    assert sighting.first is None
    assert sighting.text_equal is True
    assert sighting.clean_accepted == sighting.faulty_accepted > 0
    assert not sighting.as_expected


def relabelled(made: Tensorized, _: Scene) -> Tensorized:
    return replace(made, logprobs=made.logprobs.copy())


def test_equal_values_in_other_memory_are_no_fault(tmp_path: Path) -> None:
    """The near miss of every fault that replaces an array."""
    same = replace(NOTHING, placed=after("tensorize"), spoil=relabelled)
    assert run_fault(same, BENCH, tmp_path).first is None


@pytest.mark.parametrize(
    "change", [{"noticed_by": ("MASK999",)}, {"stage": "commit"}, {"guilty": "reference"}]
)
def test_another_rule_stage_or_side_is_not_as_expected(tmp_path: Path, change: dict[str, object]) -> None:
    assert not run_fault(replace(BY_NAME["sibling-leak"], **change), BENCH, tmp_path).as_expected


def test_some_faults_change_no_output_and_are_noticed(tmp_path: Path) -> None:
    for name in ("prefix-rows-exchanged", "drafter-positions-from-one", "nodes-by-score"):
        sighting = run_fault(BY_NAME[name], BENCH, tmp_path / name)
        assert (sighting.text_equal, sighting.as_expected) == (True, True), name
        assert sighting.faulty_accepted == sighting.clean_accepted


def test_lockstep_is_blind_to_what_both_paths_share(tmp_path: Path) -> None:
    """The reason for the load report: decoded on a wrong map or tap, both paths agree."""
    sighting = run_fault(BY_NAME["aux-layer-convention-mixed-up"], BENCH, tmp_path)
    assert sighting.first is not None
    assert sighting.first.stage == "load"
    assert sighting.others == ()


def test_the_page_says_who_noticed_and_who_did_not(tmp_path: Path) -> None:
    noticed = run_fault(BY_NAME["sibling-leak"], BENCH, tmp_path / "a")
    unnoticed = run_fault(NOTHING, BENCH, tmp_path / "b")
    page = render([noticed, unnoticed], BENCH)
    assert "1 of 2 faults noticed" in page
    assert "| JUDGE-TENSORIZE-VISIBLE | 0:0:0:tensorize:3 |" in page
    assert "| ✗ |" in page
    assert "https://github.com/PaddlePaddle/FastDeploy/issues/3514" in page
    file = tmp_path / "column.json"
    file.write_text('{"column": "reduced to", "about": "What is left.", "faults": {"sibling-leak": "1 | 2"}}')
    wider = render([noticed, unnoticed], BENCH, [read_column(file)])
    assert "What is left.\n\n## On" in wider
    assert "| seen in | reduced to |" in wider
    assert "| 1 \\| 2 |" in wider
    file.write_text('{"column": "reduced to", "about": "", "faults": {"sibling-leak": 3}}')
    with pytest.raises(UsageError, match="should be text"):
        read_column(file)
