"""Facts of model and requests come back from a manifest as they were written, and wrong ones are refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tracing.errors import TraceError, UsageError
from tracing.reader import open_run
from tracing.recorder import RunWriter
from tracing.run_facts import (
    KvGroup,
    ModelFacts,
    RequestFacts,
    RequestLimits,
    SamplingSettings,
    model_facts_of,
    request_facts_of,
)

GROUPS = (
    KvGroup(layers=(0, 2), manager_block_size=128, kernel_block_size=64, null_block=0),
    KvGroup(layers=(1,), kind="sliding_window", window=64, manager_block_size=16, kernel_block_size=16),
)
MODEL = ModelFacts(windows=(0, 64, 0), rotary_offset=1, cache_dtype="bfloat16", kv_groups=GROUPS)
REQUEST = RequestFacts(
    limits=RequestLimits(max_new_tokens=8, stop_strings=("\n\n",), stop_token_ids=(3,)),
    sampling=SamplingSettings(temperature=0.7, top_p=0.9, seed=5),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    sections = {"requests": {"a": asdict(REQUEST), "": {}}, "model_facts": asdict(MODEL)}
    with RunWriter(tmp_path / "run", sections):
        pass
    manifest = open_run(tmp_path / "run").manifest
    assert model_facts_of(manifest) == MODEL
    assert request_facts_of(manifest, "a") == REQUEST
    assert request_facts_of(manifest, "other") == RequestFacts()


def test_a_run_that_says_nothing_has_no_facts(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run"):
        pass
    for manifest in (open_run(tmp_path / "run").manifest, {}):
        assert model_facts_of(manifest) is None
        assert request_facts_of(manifest, "a") is None


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (3, "model_facts of the manifest should be a table, got '3'"),
        ({"window": 3}, "should name windows, .* got 'window'"),
        ({"windows": 3}, "windows of the manifest should be a list"),
        ({"windows": [True]}, "should be a whole number, got 'True'"),
        ({"windows": [-1]}, "windows should be at least 0"),
        ({"constrained_choice": 1}, "should be true or false"),
        ({"kv_groups": [{}]}, "kv_groups of the manifest: .*layers"),
        (
            {"kv_groups": [{"layers": [], "manager_block_size": 16, "kernel_block_size": 5}]},
            "kernel_block_size should be a divisor of manager_block_size, got 5",
        ),
        (
            {"kv_groups": [{"layers": [], "kind": "x", "manager_block_size": 1, "kernel_block_size": 1}]},
            "kind should be one of full, .* got 'x'",
        ),
    ],
)
def test_a_wrong_fact_of_the_model_is_refused(section: Any, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        model_facts_of({"model_facts": section})


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ([1], "requests of the manifest should be a table"),
        ({"": {"sampling": {"top_p": 0}}}, "top_p should be above 0"),
        (
            {"": {"sampling": {"temperature": "hot"}}},
            "requests.*sampling.temperature .* should be a number",
        ),
        ({"a": {"limits": {"max_new_tokens": 0}}}, "requests.a.limits .*max_new_tokens should be at least 1"),
    ],
)
def test_a_wrong_fact_of_a_request_is_refused(section: Any, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        request_facts_of({"requests": section}, "a")


def test_wrong_settings_cannot_be_made() -> None:
    with pytest.raises(UsageError, match="temperature should be at least 0"):
        SamplingSettings(temperature=-1.0)
