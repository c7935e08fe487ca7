"""`specwb faults`: lists, runs, and answers with the right exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.cli.run import run_command


def test_list_names_stage_and_defect(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["faults", "list", "mask"]) == 0
    out = capsys.readouterr().out
    assert "F-MASK-05" in out
    assert "sibling-leak" in out
    assert "F-TREE-01" not in out


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["faults", "list", "sibling-leak", "--format", "json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["id"], listed["stage"]) == ("F-MASK-05", "tensorize")


def test_a_noticed_fault_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["faults", "run", "sibling-leak"]) == 0
    out = capsys.readouterr().out
    assert "JUDGE-TENSORIZE-VISIBLE at 0:0:0:tensorize:3, blames fused" in out
    assert "1 of 1 faults noticed" in out


def test_json_says_everything_of_the_first_notice(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["faults", "run", "F-POS-01", "--format", "json"]) == 0
    (sighting,) = json.loads(capsys.readouterr().out)
    assert sighting["first"]["rule"] == "JUDGE-TENSORIZE-POSITIONS"
    assert sighting["first"]["stage"] == sighting["stage"] == "tensorize"
    assert sighting["as_expected"]


def test_the_page_goes_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    assert run_command(["faults", "run", "wrong-parent", "--format", "markdown", "--out", str(page)]) == 0
    assert capsys.readouterr().out == ""
    assert "JUDGE-DRAFT-PARENTS" in page.read_text(encoding="utf-8")


def test_a_fault_that_is_not_noticed_as_expected_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from workbench.faults import catalogue

    unnoticed = tuple(replace(fault, noticed_by=("MASK999",)) for fault in catalogue.chosen(["sibling-leak"]))
    monkeypatch.setattr(catalogue, "chosen", lambda _: unnoticed)
    assert run_command(["faults", "run", "sibling-leak"]) == 1


def test_an_unknown_name_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["faults", "run", "sibling-leek"]) == 2
    assert "did you mean sibling-leak" in capsys.readouterr().err
