"""Recorded launches are checked in their order, rows that are no steps included, and a request is named."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.invariants.toy_engine import ToyEngine
from tests.invariants.toy_rows import CONTEXT, Row
from tracing.columns import COLUMN_BY_NAME, KEY_COLUMNS
from tracing.recorder import RunWriter
from workbench.judge.recorded.check import check_run
from workbench.judge.recorded.checked import CheckedPath

SEED = 5


def recorded(folder: Path, rows: list[Row]) -> CheckedPath:
    assert CONTEXT.model_facts is not None
    manifest = {"limits": {"block_size": CONTEXT.block_size}, "model_facts": asdict(CONTEXT.model_facts)}
    with RunWriter(folder, manifest) as run:
        trace = run.path("fused")
        for row in rows:
            with trace.step(**{name: row[name] for name in KEY_COLUMNS}) as step:
                known = {name: value for name, value in row.items() if value is not None}
                step.record(
                    **{name: shaped(name, value) for name, value in known.items() if name not in KEY_COLUMNS}
                )
    return check_run(folder).paths[0]


def shaped(name: str, value: Any) -> Any:
    column = COLUMN_BY_NAME[name]
    if name in ("group_slots", "block_ids", "table_block_ids"):
        value = np.asarray(value).reshape(2, -1)
    return value if not isinstance(value, np.ndarray) else value.astype(column.kind)


def launches(count: int = 40) -> list[Row]:
    rows = [row for each in ToyEngine(SEED, asynchronous=True).launches(count) for row in each]
    return [row for row in rows if row["request_id"] is not None or "slots" in row]


def of_requests(checked: CheckedPath) -> list[str]:
    return [each.rule for each in checked.findings if each.rule.startswith("REQ")]


@pytest.fixture(scope="module")
def lawful() -> list[Row]:
    return launches()


def test_lawful_launches_are_held(tmp_path: Path, lawful: list[Row]) -> None:
    checked = recorded(tmp_path / "run", lawful)
    assert of_requests(checked) == []
    assert checked.counts["REQ001"].held == len({row["launch"] for row in lawful})
    assert checked.counts["REQ005"].held == len({row["launch"] for row in lawful})


def test_a_trace_in_the_order_of_requests_is_read_by_launch(tmp_path: Path, lawful: list[Row]) -> None:
    by_request = sorted(lawful, key=lambda row: (row["prompt_id"], row["step"]))
    checked = recorded(tmp_path / "run", by_request)
    assert of_requests(checked) == []
    assert checked.counts["REQ005"].held == len({row["launch"] for row in lawful})


def test_a_mistake_is_found_with_its_request_and_launch(tmp_path: Path, lawful: list[Row]) -> None:
    rows = [dict(row) for row in lawful]
    row = next(row for row in rows if row["launch"] == 30 and row["row_kind"] is None)
    row["kv_len"] -= 1
    (found,) = [
        each for each in recorded(tmp_path / "run", rows).findings if each.rule in ("REQ010", "REQ011")
    ]
    assert found.moment.place == (row["prompt_id"], 0, row["step"])
    assert f"launch 30: request {row['request_id']} " in found.message


def test_a_run_of_no_engine_says_what_was_not_recorded(tmp_path: Path) -> None:
    row = {"prompt_id": 0, "turn": 0, "step": 0, "committed_len": 3, "token_ids": np.array([1, 2])}
    counts = recorded(tmp_path / "run", [row]).counts
    assert counts["REQ001"].reasons == {"column launch was not recorded": 1}
