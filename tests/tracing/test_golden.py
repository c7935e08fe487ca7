"""Runs written by every released trace format stay readable, value for value.

`python -m tests.tracing.test_golden FOLDER` writes the golden runs of the current format; a released
format's files are never written again.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracing.columns import COLUMN_BY_NAME, COLUMNS
from tracing.copying import migrate_run
from tracing.finding import Finding
from tracing.integrity import verify_run
from tracing.manifest import read_manifest, write_manifest
from tracing.moment import Moment
from tracing.origins import origins_of
from tracing.reader import open_run
from tracing.recorder import RunWriter
from tracing.run_facts import request_facts_of
from tracing.schema import FORMAT_VERSION

GOLDEN = Path(__file__).with_name("golden")
VERSIONS = ["1.0", "1.1"]
NUM_STEPS = 3
SIZES = {"N": 5, "G": 2, "B": 3, "R": 3, "M": 2, "E": 2, "X": 4, "A+1": 3, "*": 4}
LATER = {"draw_position", "table_block_ids", "block_copies"}
"""Columns that format 1.1 gained after its golden runs were written; they read as null."""
FINDING = Finding(
    "numeric", "fused", Moment(0, 0, 1, "verify", 2), "logits", allowance=0.5, gap=2.0, message="far"
)


def golden_columns(step: int, version: str) -> dict[str, Any]:
    """Every column of a format version, as it is read today."""
    columns = columns_of_1_0(step)
    names = list(COLUMN_BY_NAME)
    added = names[names.index("row_kind") + 1 : names.index("expert_loads") + 1]
    added = [name for name in added if name not in LATER]
    return columns if version == "1.0" else columns | {name: counted(name, step) for name in added}


def counted(name: str, step: int) -> Any:
    """A value of a column's type and form by plain arithmetic."""
    column = COLUMN_BY_NAME[name]
    if column.kind in {"string", "dictionary"}:
        return f"{name} {step}"
    shape = [SIZES[letter] for letter in column.axes or ()]
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape) + step + len(name)
    if column.kind == "bool":
        return values % 2 == 0
    values = values / 8 if column.kind.startswith("float") else values
    return values if column.is_list else values.item()


def columns_of_1_0(step: int) -> dict[str, Any]:
    """Every column by plain arithmetic, so that no library's random stream can change it."""
    nodes = np.arange(5)
    parents = np.array([0, 0, 0, 1, 2])
    depths = np.array([0, 1, 1, 2, 2])
    committed_len = 10 + 3 * step
    visible = (nodes[:, None] == nodes) | (nodes == 0) | (nodes == parents[:, None])
    offsets = np.ma.MaskedArray(np.arange(10).reshape(5, 2), mask=np.arange(10).reshape(5, 2) % 4 == 3)
    return {
        "context_token_ids": np.arange(committed_len + 1) if step == 0 else None,
        "proposer": "eagle3" if step else "lookup",  # files of 1.0 say pld
        "committed_len": committed_len,
        "committed_len_after": committed_len + 3,
        "beam_flat_ids": nodes + 7,
        "draft_parents": parents[::-1],
        "draft_logprobs": -nodes / 4,
        "token_ids": 100 * step + nodes,
        "parents": parents,
        "depths": depths,
        "valid": nodes < 4,
        "position_ids": committed_len + depths,
        "cache_positions": committed_len + nodes,
        "slots": nodes + (1 << 40),
        "visible": visible,
        "prefix_visible": np.full(5, committed_len),
        "other_visible": np.zeros(5, int),
        "target_token_ids": nodes - 1,
        "target_top_ids": np.arange(15).reshape(5, 3),
        "target_top_logits": np.arange(15).reshape(5, 3) / 8,
        "feature_row_digests": nodes.astype(np.uint64) + np.uint64(2**64 - 9),
        "accepted_nodes": np.array([1, 3]),
        "final_token_id": 7,
        "emitted_token_ids": np.array([1, 3, 7]),
        "stop_reason": "eos" if step == NUM_STEPS - 1 else None,
        "path_indices": committed_len + np.array([0, 1, 3]),
        "commit_mode": "fast_reorder",
        "commit_fallback": None,
        "prefix_kept": step != 1,
        "kv_digest_before": 2**64 - 1 - step,
        "kv_digest_after": step,
        "kv_row_digests": nodes.astype(np.uint64),
        "draft_top1_offsets": offsets,
        "index_sites": [{"site": "gather", "min": -1, "max": 4, "bound": 5}],
        **{f"{stage}_ns": 10**12 + step for stage in ("draft", "tensorize", "verify", "accept", "commit")},
        "prefill_ns": 5 if step == 0 else None,
        "kernel": "fia BNSD 0 bool [5, 15]",
        "launch_refused": "verify: POS001" if step == 1 else None,
        "incomplete": "no commit" if step == 1 else None,
        "step_verdict": "ok",
    }


def write_golden(folder: Path) -> None:
    """Write a closed run, and a copy of it from before it was closed."""
    manifest = {"argv": ["golden"], "versions": {}, "seeds": {"prompt": 3}}
    with RunWriter(folder / "closed", manifest, token_bytes=lambda token_id: b"\xff%d" % token_id) as run:
        trace = run.path("fused", lacks=["prefill_ns"], info={"dtype": "float32"})
        for number in range(NUM_STEPS):
            with trace.step(prompt_id=4, turn=1, step=number) as step:
                step.record(**golden_columns(number, FORMAT_VERSION))
            with trace.step(prompt_id=4, turn=1, step=number) as step:
                step.record(row_kind="preempted", request_epoch=number)
            if number == 0:
                trace.seal()
        run.add_finding(FINDING)
        run.save_bulk(Moment(4, 1, 1, "verify", 2), "logits", np.arange(6.0).reshape(2, 3))
        with trace.step(prompt_id=4, turn=1, step=NUM_STEPS) as step:
            step.record(committed_len=19)
            step.about_to_run("verify", position_ids=[19, 20])
            ignored = shutil.ignore_patterns("lock")
            shutil.copytree(folder / "closed", folder / "killed", ignore=ignored)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["closed", "killed"])
def test_a_golden_run_reads_value_for_value(version: str, kind: str) -> None:
    run = open_run(GOLDEN / version / kind)
    path = run.path("fused")
    assert run.manifest["format"] == version
    assert verify_run(run.folder).state == ("complete" if kind == "closed" else "truncated")
    assert path.num_steps == NUM_STEPS + (kind == "closed")
    for number in range(NUM_STEPS):
        row, given = path.step(number), golden_columns(number, version)
        assert (row["prompt_id"], row["turn"], row["step"]) == (4, 1, number)
        for name, value in given.items():
            assert_equal(row[name], value)
    assert run.findings == [FINDING]
    assert run.vocabulary[101] == b"\xff101"
    assert run.bulk(Moment(4, 1, 1, "verify", 2), "logits").tolist() == [[0, 1, 2], [3, 4, 5]]
    if kind == "killed":
        (step,) = path.in_progress
        assert (str(step.moment), step.columns["committed_len"]) == ("4:1:3:verify", 19)
        assert step.inputs["position_ids"].tolist() == [19, 20]


def assert_equal(back: Any, given: Any) -> None:
    if isinstance(given, np.ndarray):
        # Where N does not tell the sizes of its axes, an array stays as flat as it is stored.
        assert back.tolist() == (given.ravel() if back.ndim == 1 else given).tolist()
    else:
        assert back == given


def test_the_golden_step_has_every_column_of_the_first_format() -> None:
    """A column added later is null in golden runs; one that vanished or changed its name would break them."""
    assert set(golden_columns(0, "1.1")) <= {column.name for column in COLUMNS}
    assert [len(golden_columns(0, version)) for version in VERSIONS] == [44, 83]


@pytest.mark.parametrize(("every_row", "num_rows"), [(False, NUM_STEPS + 1), (True, 2 * NUM_STEPS + 1)])
def test_rows_that_are_no_steps_are_read_on_demand(every_row: bool, num_rows: int) -> None:
    path = open_run(GOLDEN / "1.1" / "closed", every_row=every_row).path("fused")
    kinds = path.columns(["row_kind"]).column(0).to_pylist()
    assert kinds == ([None, "preempted"] * NUM_STEPS + [None] if every_row else [None] * num_rows)
    assert (len(kinds), path.num_steps) == (num_rows, num_rows)


def test_a_run_of_the_first_format_is_lifted_to_the_current_one(tmp_path: Path) -> None:
    assert migrate_run(GOLDEN / "1.0" / "closed", tmp_path / "lifted")
    old, run = open_run(GOLDEN / "1.0" / "closed"), open_run(tmp_path / "lifted")
    assert run.manifest["format"] == FORMAT_VERSION
    (origin,) = origins_of(run.manifest)
    assert (origin.how, origin.run_id, origin.format) == ("migrate", old.manifest["run_id"], "1.0")
    assert run.manifest["seeds"] == {"prompt": 3}
    assert verify_run(run.folder).is_whole
    assert run.path("fused").stream.schema.names == [column.name for column in COLUMNS]
    assert run.path("fused").stream.facts["format"] == FORMAT_VERSION
    assert run.path("fused").columns().to_pylist() == old.path("fused").columns().to_pylist()
    assert (run.findings, run.vocabulary) == (old.findings, old.vocabulary)
    assert run.bulk(Moment(4, 1, 1, "verify", 2), "logits").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert migrate_run(tmp_path / "lifted", tmp_path / "again") is False


if __name__ == "__main__":
    write_golden(Path(sys.argv[1]))


def test_data_of_a_writer_of_format_1_0_is_not_read_as_a_section_of_1_1(tmp_path: Path) -> None:
    """An engine's recorder named its request ids `requests`, which since 1.1 holds limits."""
    manifest = read_manifest(GOLDEN / "1.0" / "closed")
    shutil.copytree(GOLDEN / "1.0" / "closed", tmp_path / "run")
    write_manifest(tmp_path / "run", manifest | {"requests": {"0": "0-978c"}})
    run = open_run(tmp_path / "run")
    assert request_facts_of(run.manifest, "0") is None
    assert run.manifest["own_requests"] == {"0": "0-978c"}
