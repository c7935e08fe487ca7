"""`specwb lossless`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.cli.run import run_command
from workbench.lossless import smallest as smallest_module

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


def test_a_wrong_rule_is_named_and_shrunk(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The smallest problem is read back and shows the same."""
    monkeypatch.setattr(smallest_module, "MAX_EXAMPLES", 60)
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
        (["tests.lossless.verifiers:out_of_vocabulary"], "never emits tokens"),
        (["tests.lossless.verifiers:leaves"], "raised SystemExit"),
        (["--rule", "nothing"], "no rule 'nothing'"),
        (["--rule", "eagle", "--alpha", "2"], "--alpha lies between"),
        (["--rule", "block", "--drafts", "top"], "a rule for sampled drafts"),
        (["--rule", "eagle", "--problem", "no-such-file.json"], "cannot be read as JSON"),
    ],
)
def test_bad_input_is_exit_code_2(capsys: pytest.CaptureFixture[str], argv: list[str], sentence: str) -> None:
    assert run_command(["lossless", *argv]) == 2
    assert sentence in capsys.readouterr().err


def test_what_is_not_repeatable_has_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["lossless", "tests.lossless.verifiers:not_repeatable"]) == 4
    assert "not repeatable" in capsys.readouterr().err


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


LAWS = {
    "problems": [
        {
            "name": name, "depth": 1, "drafts": "sampled", "draft": {"": ["1/4", "3/4"]},
            "target": {"": ["1/2", "1/2"], "0": ["1/4", "3/4"], "1": ["3/4", "1/4"]},
        }
        for name in ("a", "b")
    ]
}  # fmt: skip


def samples_file(tmp_path: Path, name: str, bias: float) -> str:
    """Samples of two prompts whose first token is 0 with a probability off by `bias`."""
    import numpy as np

    chance = np.random.Generator(np.random.Philox(len(name)))
    file = tmp_path / name
    with file.open("w") as lines:
        for i in range(3000):
            first = int(chance.random() >= 0.5 + bias)
            second = int(chance.random() >= (0.75 if first else 0.25))
            lines.write(
                json.dumps({"prompt": "ab"[i % 2], "tokens": [first, second, 7], "group": f"day {i % 3}"})
                + "\n"
            )
    return str(file)


def test_samples_are_judged_against_laws_and_against_plain_decoding(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    laws = tmp_path / "laws.json"
    laws.write_text(json.dumps(LAWS))
    clean, off = samples_file(tmp_path, "clean.jsonl", 0.0), samples_file(tmp_path, "biased.jsonl", 0.15)
    black_box = ("--problem", str(laws), "--least", "0.1", "--black-box")
    code, found = as_json(capsys, *black_box, clean)
    assert (code, found["verdict"], found["draws"]) == (0, "nothing seen", 3000)
    assert 0.05 < found["smallest_visible_total_variation"] < 0.1
    code, found = as_json(capsys, *black_box, off)
    assert (code, found["verdict"], found["alarm_draw"]) == (1, "not lossless", found["draws"])
    assert found["draws"] < 1500
    code, found = as_json(capsys, *black_box, off, "--baseline", clean)
    assert (code, found["verdict"], found["pairs"]) == (1, "not lossless", True)
    code, found = as_json(capsys, *black_box, clean, "--max-draws", "50")
    assert (code, found["verdict"]) == (4, "inconclusive")
    code, found = as_json(capsys, *black_box, off, "--dependent")
    assert code == 1
    code, found = as_json(capsys, *black_box, "tests.lossless.verifiers:engine")
    assert (code, found["draws"] < 500) == (1, True)  # what it prints is no part of the JSON
    assert run_command(["lossless", *black_box, clean]) == 0
    assert "would have been seen, whatever the mistake" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 1 is not JSON"),
        ('{"prompt": "a"}', "a sample is"),
        ('{"prompt": "c", "tokens": [0, 0]}', "has no laws"),
        ('{"prompt": "a", "tokens": [0]}', "the test looks at 2"),
        ('{"prompt": "a", "tokens": ["x", 1]}', "a list of ids"),
    ],
)
def test_bad_samples_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, sentence: str
) -> None:
    laws, file = tmp_path / "laws.json", tmp_path / "samples.jsonl"
    laws.write_text(json.dumps(LAWS))
    file.write_text(line + "\n")
    assert run_command(["lossless", "--problem", str(laws), "--black-box", str(file)]) == 2
    assert sentence in capsys.readouterr().err
    assert run_command(["lossless", "--black-box", str(file)]) == 2
    assert "needs --problem FILE" in capsys.readouterr().err
