"""The suite `fresh`: from held-out files, made by its script; the teacher does not repeat itself there."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from examples.tiny_pangu.corpus import SourceFile
from examples.tiny_pangu.fresh import LEAST_DISTINCT, NEW_TOKENS, fresh_prompts, shipped_teacher
from examples.tiny_pangu.suite import write_suite
from tests.bench.test_suite import needs_the_library
from workbench.bench.stats import distinct_share
from workbench.bench.suite import spread_over, suite_named
from workbench.checkpoints.shipped import shipped_pair_dirs
from workbench.checkpoints.tokenizer import load_tokenizer

SHIPPED = files("workbench.bench").joinpath("suites", "fresh.jsonl")


def test_its_prompts_are_from_held_out_files_and_each_is_another() -> None:
    prompts = suite_named("fresh")
    assert len({prompt.id for prompt in prompts}) == len({prompt.turns for prompt in prompts}) == len(prompts)
    assert all(prompt.kind == "fresh" and len(prompt.turns) == 1 for prompt in prompts)
    assert all(SourceFile(prompt.source, "").is_held_out for prompt in prompts)


@needs_the_library
def test_the_script_makes_the_shipped_file_of_the_same_continuations(tmp_path: Path) -> None:
    """The teacher itself is asked about a few prompts only, below."""
    tokenizer = Tokenizer.from_file(str(shipped_pair_dirs()[0] / "tokenizer.json"))
    fresh = {tuple(tokenizer.encode(prompt.turns[0]).ids) for prompt in suite_named("fresh")}

    def continued(prompt: Sequence[int]) -> Sequence[int]:
        return range(NEW_TOKENS) if tuple(prompt) in fresh else [0] * NEW_TOKENS

    write_suite(tmp_path / "fresh.jsonl", fresh_prompts(tokenizer, continued))
    assert (tmp_path / "fresh.jsonl").read_bytes() == SHIPPED.read_bytes()


@pytest.mark.parametrize("length", [NEW_TOKENS, NEW_TOKENS - 1])
def test_a_text_that_ends_early_or_loops_is_left_out(length: int) -> None:
    tokenizer = Tokenizer.from_file(str(shipped_pair_dirs()[0] / "tokenizer.json"))
    assert not fresh_prompts(tokenizer, lambda _: range(length) if length < NEW_TOKENS else [1, 2] * 64)


def test_the_teacher_writes_something_new_after_a_few_of_them() -> None:
    tokenizer, continued = load_tokenizer(shipped_pair_dirs()[0]), shipped_teacher()
    for prompt in spread_over(suite_named("fresh"), 3):
        output = continued(tokenizer.encode(prompt.turns[0]))
        assert len(output) == NEW_TOKENS
        assert distinct_share(output) >= LEAST_DISTINCT
