"""`check --facts FILE`: what is lawful and was not recorded; and what a recording cannot tell of a mask."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Specwb
from tests.cli.recorded import SETTINGS, record
from tests.cli.test_null_block import LIMITS_OF_BLOCKS, model_facts, pads_at
from tracing.recorder import RunWriter


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A recording of an engine that pads into slot 0 and does not say that block 0 holds nothing."""
    with RunWriter(tmp_path / "run", {"settings": SETTINGS, "limits": LIMITS_OF_BLOCKS}) as writer:
        record(writer.path("fused"), [pads_at(0)])
    return tmp_path / "run"


def facts_file(folder: Path, facts: Any) -> Path:
    file = folder / "facts.json"
    file.write_text(facts if isinstance(facts, str) else json.dumps(facts))
    return file


def test_facts_are_added_to_those_of_the_recording(specwb: Specwb, run: Path, tmp_path: Path) -> None:
    assert "KV013" in specwb("check", run).out
    file = facts_file(tmp_path, {"model_facts": asdict(model_facts(0))})
    done = specwb("check", run, "--facts", file)
    assert "KV013" not in done.out
    assert "model_facts.kv_groups was given for this check and is not in the recording" in done.out


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"limits": {"block_size": 32}}, "limits.block_size is 16 in the recording and 32 in the facts"),
        ({"models": {}}, "should be tables named limits, model_facts, requests, got 'models'"),
        ({"limits": 3}, "should be tables named limits, model_facts, requests, got 'limits'"),
        ({"model_facts": {"window": 3}}, "got 'window'"),
        ({"model_facts": {"windows": "all"}}, "model_facts.windows"),
        ("{", "is not valid JSON"),
        (None, "cannot read"),
    ],
)
def test_facts_that_cannot_be_taken(specwb: Specwb, run: Path, tmp_path: Path, facts: Any, said: str) -> None:
    file = tmp_path / "missing" if facts is None else facts_file(tmp_path, facts)
    done = specwb("check", run, "--facts", file)
    assert done.exit_code == 2
    assert said in done.err


def test_who_built_a_recorded_mask_is_not_told(specwb: Specwb, tmp_path: Path) -> None:
    """The recording has the mask as attention got it; what tensorize built is not in it."""
    row = pads_at(0)
    visible = np.array(row["visible"], dtype=bool)
    size = len(row["parents"])
    visible.reshape(size, size)[2, 1] = True
    with RunWriter(tmp_path / "run", {"settings": SETTINGS}) as writer:
        record(writer.path("fused"), [row | {"visible": visible}])
    line = next(each for each in specwb("check", tmp_path / "run").out.splitlines() if "MASK001" in each)
    assert "whether tensorize or verify built it is not recorded" in line


def test_who_wrote_into_a_recorded_cache_is_not_told(specwb: Specwb, tmp_path: Path) -> None:
    """Its digests are from before verify and after commit."""
    row = pads_at(0)
    with RunWriter(tmp_path / "run", {"settings": SETTINGS}) as writer:
        record(writer.path("fused"), [row | {"kv_digest_after": np.uint64(int(row["kv_digest_after"]) ^ 1)}])
    line = next(each for each in specwb("check", tmp_path / "run").out.splitlines() if "KV005" in each)
    assert "or verify or accept wrote there: no digest was recorded between them" in line
