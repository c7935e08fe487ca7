"""Where padding may go stands once, in the first KV group; live and recorded judges read it there."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from invariants.context import RunContext
from invariants.examples import CONTEXT, Before, StepRow, Tree, legal_step
from tests.cli.conftest import Specwb
from tests.cli.recorded import LIMITS, SETTINGS, record
from tracing.recorder import RunWriter
from tracing.run_facts import KvGroup, ModelFacts
from tracing.settings import DecodeSettings
from workbench.judge.recorded.context import read_context

TREE = Tree([0, 0, 0, 1, 1, 3], [7, 5, 6, 8, 9, 11], [5, 8, 3, 61, 4, 9], num_pads=2)
SIZE = 16
LIMITS_OF_BLOCKS = LIMITS | {"block_size": SIZE, "num_slots": None, "null_block": None}


def model_facts(null_block: int | None, size: int = SIZE) -> ModelFacts:
    group = KvGroup(layers=(0,), manager_block_size=size, kernel_block_size=size, null_block=null_block)
    second = replace(group, layers=(1,), null_block=3)
    return ModelFacts(kv_groups=(group, second))


def pads_at(slot: int) -> StepRow:
    """A step behind 20 tokens, in blocks 4 and on, whose two pads are written to `slot`."""
    row = legal_step(TREE, Before(committed_len=20, prompt_len=20))
    slots = row["cache_positions"].astype("int64") + 4 * SIZE
    slots[~row["valid"]] = slot
    return row | {"slots": slots}


@pytest.mark.parametrize(("null_block", "slot", "violated"), [(0, 0, 0), (2, 35, 0), (None, 0, 1), (2, 0, 1)])
def test_pads_in_the_declared_null_block(
    specwb: Specwb, tmp_path: Path, null_block: int | None, slot: int, violated: int
) -> None:
    facts: dict[str, Any] = {"settings": SETTINGS, "limits": LIMITS_OF_BLOCKS}
    facts["model_facts"] = asdict(model_facts(null_block))
    with RunWriter(tmp_path / "run", facts) as writer:
        record(writer.path("fused"), [pads_at(slot)])
    checked = json.loads(specwb("check", tmp_path / "run", "--format", "json").out)["runs"][0]
    counts = next(rule for rule in checked["paths"][0]["rules"] if rule["rule"] == "KV013")
    assert (counts["violated"], counts["held"]) == (violated, 1 - violated)


def test_live_and_recorded_contexts_agree() -> None:
    live = RunContext.from_settings(DecodeSettings(), model_facts=model_facts(2, 32))
    read = read_context({"model_facts": asdict(model_facts(2, 32))})
    for context in (live, read):
        assert (context.null_block, context.block_size) == (2, 32)
    assert RunContext.from_settings(DecodeSettings(), model_facts=ModelFacts()).null_block is None


def test_limits_win() -> None:
    stated = {"null_block": 7, "block_size": 8}
    read = read_context({"model_facts": asdict(model_facts(2)), "limits": stated})
    assert (read.null_block, read.block_size) == (7, 8)
    assert replace(CONTEXT, model_facts=model_facts(None)).with_null_block().null_block is CONTEXT.null_block
