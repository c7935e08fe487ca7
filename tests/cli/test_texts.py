"""`specwb texts`: exit codes, formats, and what it refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.cli.conftest import Specwb
from tests.cli.pair_dirs import write_pair
from tests.lockstep.texts_made import greedy_text
from workbench.lockstep.replay.teacher import load_teacher_only

PROMPT = [5, 9, 33, 2, 17, 40]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("texts"))[0]


@pytest.fixture(scope="module")
def text(teacher: Path) -> list[int]:
    return greedy_text(load_teacher_only(teacher).pair, PROMPT, 6)


def _write(folder: Path, *entries: dict[str, object]) -> Path:
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return file


def test_right_and_wrong_texts(specwb: Specwb, tmp_path: Path, teacher: Path, text: list[int]) -> None:
    right = {"prompt_token_ids": PROMPT, "output_token_ids": text, "max_new_tokens": 6, "odd": 1}
    answer = specwb("texts", _write(tmp_path, right), "--model", teacher)
    assert answer.exit_code == 0, answer
    assert answer.out.startswith("verdict     ok")
    assert "odd" in answer.err
    wrong = {**right, "id": "bad\x1b[2J", "output_token_ids": [*text[:3], (text[3] + 1) % 288, *text[4:]]}
    file = _write(tmp_path, right, wrong)
    answer = specwb("texts", file, "--model", teacher)
    assert answer.exit_code == 1
    assert "prompt 1" in answer.out
    assert "token 3 is" in answer.out
    assert "\x1b" not in answer.out
    found = json.loads(specwb("texts", file, "--model", teacher, "--format", "json").out)
    assert (found["verdict"], found["exit_code"], found["texts"]) == ("structural", 1, 2)
    assert (found["findings"][0]["prompt_id"], found["findings"][0]["step"]) == (1, 3)
    suites = ET.fromstring(specwb("texts", file, "--model", teacher, "--format", "junit").out)
    assert suites.get("failures") == "1"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"prompt_token_ids": [1], "output_token_ids": [2], "temperature": 0.7}, "specwb lossless"),
        ({"prompt_token_ids": [1], "output_text": "a"}, "should have output_token_ids"),
        ({"prompt_token_ids": [], "output_token_ids": [2]}, "at least one token"),
        ({"prompt_token_ids": [1, "x"], "output_token_ids": [2]}, "list of whole numbers"),
        ({"prompt_token_ids": [1], "output_token_ids": [2], "finish_reason": "eos?"}, "finish_reason should"),
        ({"prompt_token_ids": [9999], "output_token_ids": [2]}, "prompt_token_ids should lie in"),
        ({"output_token_ids": [2]}, "should have prompt_token_ids"),
    ],
)
def test_what_is_refused(
    specwb: Specwb, tmp_path: Path, teacher: Path, entry: dict[str, object], expected: str
) -> None:
    answer = specwb("texts", _write(tmp_path, entry), "--model", teacher)
    assert answer.exit_code == 2
    assert expected in answer.err


def test_files_that_hold_no_text(specwb: Specwb, tmp_path: Path, teacher: Path) -> None:
    for content in ("", "not json\n"):
        file = tmp_path / "texts.jsonl"
        file.write_text(content)
        assert specwb("texts", file, "--model", teacher).exit_code == 2
    assert specwb("texts", tmp_path / "none.jsonl", "--model", teacher).exit_code == 2


def test_weights_kept_in_a_narrower_type(
    specwb: Specwb, tmp_path: Path, teacher: Path, text: list[int]
) -> None:
    entry = {"prompt_token_ids": PROMPT, "output_token_ids": text, "max_new_tokens": 6}
    answer = specwb("texts", _write(tmp_path, entry), "--model", teacher, "--stored", "float16")
    assert answer.exit_code in {0, 1}
    assert "stored float16" in answer.out
