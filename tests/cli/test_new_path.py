"""The skeleton of `new-path` runs as it is; planted faults make broken runs to look at."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Specwb

FEW = ("--max-new-tokens", "6", "--format", "json")


def test_the_skeleton_is_judged_as_it_is(
    specwb: Specwb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port of another name than ours, on a pair whose acceptance tells something of it."""
    folder = tmp_path / "mine"
    assert specwb("new-path", folder).exit_code == 0
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "port", raising=False)
    answer = specwb("diff", "--prompt", "prompt.txt", "--fused", "port:factory", *FEW)
    said = json.loads(answer.out)
    assert (answer.exit_code, said["verdict"]) == (0, "ok"), (said["remark"], answer.err)
    assert said["first_divergence"] is None
    again = specwb("new-path", folder)
    assert again.exit_code == 2
    assert "is not overwritten" in again.err


def test_a_planted_fault_is_shown(specwb: Specwb, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("def f(x):\n    return x\n")
    answer = specwb(
        "diff", "--prompt", prompt, "--fault", "polarity-inverted", "--out", tmp_path / "run", *FEW
    )
    assert answer.exit_code == 1
    assert json.loads(answer.out)["first_divergence"]["stage"] == "verify"
    assert "planted F-MASK-01" in answer.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--fault", "mask"), "is a family of"),
        (("--fault", "polarity-invertd"), "did you mean polarity-inverted"),
        (("--fault", "polarity-inverted", "--fused", "examples.partial_port:factory"), "our own path"),
    ],
)
def test_what_cannot_be_planted(
    specwb: Specwb, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("def f(x):\n    return x\n")
    answer = specwb("diff", "--prompt", prompt, *options, "--out", tmp_path / "run", *FEW)
    assert answer.exit_code == 2
    assert sentence in answer.err


def test_runs_of_faults_are_kept(specwb: Specwb, tmp_path: Path) -> None:
    answer = specwb("faults", "run", "polarity-inverted", "--keep", tmp_path / "kept")
    assert answer.exit_code == 0, answer.out
    assert specwb("trace", "verify", tmp_path / "kept" / "F-MASK-01").exit_code == 0
    assert specwb("faults", "run", "polarity-inverted", "--keep", tmp_path / "kept").exit_code == 2


def test_a_port_is_not_accused_where_lookup_finds_nothing(specwb: Specwb, tmp_path: Path) -> None:
    """The reference fills in a tree of the root alone; the port reads it as it is."""
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("An unheard word: zyx")
    options = ("--fused", "examples.partial_port:factory", "--proposer", "lookup", "--format", "json")
    answer = specwb("diff", "--prompt", prompt, *options, "--out", tmp_path / "run", *FEW)
    assert answer.exit_code in {0, 4}, answer.out
    assert json.loads(answer.out)["findings"] == []
