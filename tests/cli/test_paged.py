"""`specwb diff --kv-layout paged`: slots are recorded and judged, live and from the trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Specwb
from tests.cli.pair_dirs import write_pair
from tracing.reader import open_run

SHAPE = ("--tree-nodes", "8", "--depth", "2", "--top-k", "3", "--max-new-tokens", "8")


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, ...]:
    teacher, drafter = write_pair(tmp_path)
    (tmp_path / "prompt.txt").write_text("the words of the text", encoding="utf-8")
    return (
        "--prompt",
        str(tmp_path / "prompt.txt"),
        "--model",
        str(teacher),
        "--draft",
        str(drafter),
        *SHAPE,
    )


def test_slots_are_in_the_trace_and_their_laws_are_checked(
    specwb: Specwb, models: tuple[str, ...], tmp_path: Path
) -> None:
    """Bug: the number of slots known to the live run only, so that a trace is judged more mildly later."""
    run = tmp_path / "run"
    done = specwb("diff", *models, "--kv-layout", "paged", "--out", run, "--format", "json")
    assert done.exit_code == 0, done.err
    recorded = open_run(run)
    info = recorded.manifest["paths"]["fused"]["info"]
    assert (info["kv_layout"], info["block_size"]) == ("paged", 128)
    limits = recorded.manifest["limits"]
    assert limits["num_slots"] == limits["kv_capacity"] == info["num_slots"]
    assert limits["num_slots"] % 128 == 0
    assert all(len(row["slots"]) == 8 for row in recorded.path("fused"))
    checked = json.loads(specwb("check", run, "--format", "json").out)
    fused = next(path for path in checked["runs"][0]["paths"] if path["path"] == "fused")
    of_slots = {rule["rule"]: rule for rule in fused["rules"]}
    for rule in ("KV009", "KV010", "KV011"):
        assert (of_slots[rule]["held"], of_slots[rule]["violated"]) == (fused["steps"], 0)
    assert of_slots["KV012"]["held"] == fused["steps"] - 1


@pytest.mark.parametrize("size", [20, 2048])
def test_a_block_size_that_cannot_be_is_one_sentence(
    specwb: Specwb, models: tuple[str, ...], size: int
) -> None:
    done = specwb("diff", *models, "--kv-layout", "paged", "--block-size", size)
    assert done.exit_code == 2
    assert f"block_size should be a multiple of 16 from 16 to 1024, got {size}" in done.err
    assert "Traceback" not in done.err
