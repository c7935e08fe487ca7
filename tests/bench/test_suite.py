"""The suite: what it says it holds, never trained on, made by one script; and files of other suites."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
from importlib.resources import files
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from examples.tiny_pangu.corpus import HELD_OUT_ONE_IN, SourceFile
from examples.tiny_pangu.heldout import held_out_files
from examples.tiny_pangu.suite import suite_prompts, write_suite
from tracing.errors import UsageError
from workbench.bench.published import humaneval_prompts, mt_bench_prompts
from workbench.bench.studies.length import cut_to
from workbench.bench.suite import shipped_prompts, spread_over, suite_named
from workbench.checkpoints.shipped import shipped_pair_dirs
from workbench.checkpoints.tokenizer import load_tokenizer

SHIPPED = files("workbench.bench").joinpath("suites", "heldout.jsonl")
SAME_PYTHON = platform.python_version() == "3.11.7" and len(held_out_files()) == 44
needs_the_library = pytest.mark.skipif(
    not SAME_PYTHON, reason="needs the library of CPython 3.11.7, tests included"
)


def test_it_has_240_turns_of_two_kinds_and_eight_long_texts() -> None:
    full = suite_named("full")
    assert sum(len(prompt.turns) for prompt in full) == 240
    assert [len(suite_named(kind)) for kind in ("code", "chat")] == [80, 80]
    assert all(len(prompt.turns) == (1 if prompt.kind == "code" else 2) for prompt in full)
    assert sum(prompt.kind == "length" for prompt in shipped_prompts()) == 8
    assert len({prompt.id for prompt in shipped_prompts()}) == 168


def test_no_prompt_comes_from_a_file_that_was_trained_on() -> None:
    for prompt in shipped_prompts():
        digest = int(hashlib.sha256(prompt.source.encode()).hexdigest(), 16)
        assert digest % HELD_OUT_ONE_IN == 0
        assert SourceFile(prompt.source, "").is_held_out


@needs_the_library
def test_every_text_stands_in_its_held_out_file() -> None:
    texts = {file.name: file.text for file in held_out_files()}
    for prompt in shipped_prompts():
        assert "".join(prompt.turns) in texts[prompt.source]


@needs_the_library
def test_the_script_makes_the_shipped_file_again(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(shipped_pair_dirs()[0] / "tokenizer.json"))
    write_suite(tmp_path / "suite.jsonl", suite_prompts(tokenizer))
    assert (tmp_path / "suite.jsonl").read_bytes() == SHIPPED.read_bytes()


def test_prompts_are_of_20_to_1500_tokens() -> None:
    tokenizer = load_tokenizer(shipped_pair_dirs()[0])
    full = suite_named("full")
    lengths = [len(tokenizer.encode(prompt.turns[0])) for prompt in full]
    assert 20 <= min(lengths) <= 25
    assert 1400 <= max(lengths) <= 1500
    assert 300 <= sum(lengths) / len(lengths) <= 500


@pytest.mark.parametrize("num_turns", [1, 2, 3, 4, 7, 12, 100, 239])
def test_a_part_has_exactly_so_many_turns_and_keeps_order(num_turns: int) -> None:
    full = suite_named("full")
    part = spread_over(full, num_turns)
    assert sum(len(prompt.turns) for prompt in part) == num_turns
    numbers = [[prompt.id for prompt in full].index(prompt.id) for prompt in part]
    assert numbers == sorted(set(numbers))
    if num_turns > 3:
        assert {prompt.kind for prompt in part} == {"code", "chat"}


def test_all_of_it_is_all_of_it() -> None:
    full = suite_named("full")
    assert spread_over(full, None) == spread_over(full, 240) == spread_over(full, 999) == full


@pytest.mark.parametrize("length", [128, 1024])
def test_a_cut_keeps_the_end_and_the_leading_token(length: int) -> None:
    tokenizer = load_tokenizer(shipped_pair_dirs()[0])
    text = next(prompt.turns[0] for prompt in shipped_prompts() if prompt.kind == "length")
    token_ids = cut_to(tokenizer, text, length)
    whole = tokenizer.encode(text)
    assert len(token_ids) == length
    assert token_ids[0] == whole[0]
    assert token_ids[1:] == whole[-(length - 1) :]
    with pytest.raises(UsageError, match="were asked for"):
        cut_to(tokenizer, "short", 20)


def test_humaneval_is_read_plain_and_packed(tmp_path: Path) -> None:
    tasks = [
        {
            "task_id": f"HumanEval/{i}",
            "prompt": f"def f{i}():\n",
            "canonical_solution": "",
            "test": "",
            "entry_point": "f",
        }
        for i in range(2)
    ]
    data = "".join(json.dumps(task) + "\n" for task in tasks).encode()
    (tmp_path / "HumanEval.jsonl").write_bytes(data)
    (tmp_path / "HumanEval.jsonl.gz").write_bytes(gzip.compress(data))
    plain, packed = (humaneval_prompts(tmp_path / f"HumanEval.jsonl{end}") for end in ("", ".gz"))
    assert [prompt.id for prompt in plain] == ["HumanEval/0", "HumanEval/1"]
    assert (
        [prompt.turns for prompt in plain]
        == [prompt.turns for prompt in packed]
        == [("def f0():\n",), ("def f1():\n",)]
    )


def test_mt_bench_is_read_with_both_turns(tmp_path: Path) -> None:
    question = {"question_id": 81, "category": "writing", "turns": ["Write.", "Rewrite."]}
    (tmp_path / "question.jsonl").write_text(json.dumps(question) + "\n\n")
    (prompt,) = mt_bench_prompts(tmp_path / "question.jsonl")
    assert (prompt.id, prompt.kind, prompt.turns) == ("mt-bench-81", "chat", ("Write.", "Rewrite."))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b"{}\n", "line 1 should be"),
        (b"[]\n", "line 1 should be a JSON object"),
        (b'{"task_id": "a", "prompt": ""}\n', "line 1 should be"),
        (b'{"question_id": 1, "turns": ["a", 3]}\n', "line 1 should be"),
        (b"word\n", "line 1 is no JSON"),
        (b"\x1f\x8b broken", "plain or gzip"),
        (b"\xff\xfe", "plain or gzip"),
    ],
)
def test_other_files_are_refused_with_their_line(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(data)
    for read in (humaneval_prompts, mt_bench_prompts):
        with pytest.raises(UsageError, match=told):
            read(path)
    with pytest.raises(UsageError, match="cannot read"):
        humaneval_prompts(tmp_path / "missing.jsonl")
