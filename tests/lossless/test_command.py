"""`specwb lossless`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.cli.run import run_command

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def as_json(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any]:
    code = run_command(["lossless", *argv, "--format", "json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_right_verifier(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = as_json(capsys, "tests.lossless.verifiers:eagle")
    assert (code, found["verdict"], found["total_variation"], found["smallest"]) == (0, "lossless", 0.0, None)
    assert {"fixed"} == {each["drafts"] for each in found["problems"]}


def test_a_wrong_rule_is_named_and_shrunk(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The smallest problem is read back and shows the same."""
    code, found = as_json(capsys, "--rule", "original-draft-law")
    assert (code, found["verdict"]) == (1, "not lossless")
    guilty = [each for each in found["problems"] if each["verdict"] == "not lossless"]
    assert all("original-draft-law" in each["same_as"] for each in guilty)
    smallest = found["smallest"]
    assert (smallest["problem"]["depth"], smallest["problem"]["width"]) == (1, 2)  # one child shows nothing
    file = tmp_path / "problem.json"
    file.write_text(json.dumps(smallest["problem"]))
    code, again = as_json(capsys, "--rule", "original-draft-law", "--problem", str(file), "--no-shrink")
    assert (code, again["total_variation"]) == (1, smallest["total_variation"])


def test_the_text_says_what_a_reader_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["lossless", "--rule", "ratio-on-fixed-drafts", "--no-shrink"]) == 1
    text = capsys.readouterr().out
    for part in (
        "not lossless on 9 of 9 problems",
        "most off after the root",
        "draws",
        "target law after the root",
    ):
        assert part in text
    assert "Same law as the known mistake: ratio-on-fixed-drafts" in text
    assert run_command(["lossless", "--list"]) == 0
    assert "block-by-products" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "name one verifier"),
        (["nowhere:verify"], "there is no module 'nowhere'"),
        (["tests.lossless.verifiers"], "a verifier is package.module:function"),
        (["tests.lossless.verifiers:nothing"], "has no function 'nothing'"),
        (["tests.lossless.verifiers:strange_parameter"], "which nobody can fill"),
        (["tests.lossless.verifiers:not_repeatable"], "not repeatable"),
        (["tests.lossless.verifiers:out_of_vocabulary"], "never emits tokens"),
        (["--rule", "nothing"], "no rule 'nothing'"),
        (["--rule", "eagle", "--alpha", "2"], "--alpha lies between"),
        (["--rule", "block", "--drafts", "top"], "a rule for sampled drafts"),
        (["--rule", "eagle", "--problem", "no-such-file.json"], "cannot be read as JSON"),
    ],
)
def test_bad_input_is_exit_code_2(capsys: pytest.CaptureFixture[str], argv: list[str], sentence: str) -> None:
    assert run_command(["lossless", *argv]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("[]", "has no problem in it"),
        ('{"depth": 1}', "at least depth and target"),
        ('{"depth": 1, "target": {"": ["1/2", "x"]}}', "a law is a list of probabilities"),
        ('{"depth": 1, "target": {"": [-1, 2]}}', "no negative entry"),
        ('{"depth": 1, "target": {"": [1, 1]}, "draft": {}}', "need the draft law"),
        ('{"depth": 1, "target": {"": [1, 1]}, "tree": {"": [0]}}', "has no law after the path"),
        ('{"depth": 1, "target": {"": [1, 1]}, "tree": {"": [7]}}', "do not fit"),
        ('{"depth": 99, "target": {"": [1, 1]}, "tree": {"": [0]}}', "can be enumerated"),
    ],
)
def test_bad_problems_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: str, sentence: str
) -> None:
    file = tmp_path / "problem.json"
    file.write_text(data)
    assert run_command(["lossless", "--rule", "eagle", "--problem", str(file)]) == 2
    assert sentence in capsys.readouterr().err
