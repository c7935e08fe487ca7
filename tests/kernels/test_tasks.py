"""A task folder of the public benchmark runs as it is; its judge and ours stand side by side."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tracing.errors import UsageError
from workbench.kernels.reports import GateOptions, KernelReport
from workbench.kernels.tasks.folder import read_rows, read_task
from workbench.kernels.tasks.run import run_task

DATA = Path(__file__).parents[1] / "data/kernels"
TASK = DATA / "level2/Activation/Scaled"


def run(name: str = "", **options: object) -> KernelReport:
    candidate = f"{DATA / 'candidates.py'}:{name}" if name else ""
    return run_task(TASK, candidate, GateOptions(**{"measure_s": 0.0, **options}))  # type: ignore[arg-type]  # a test's own


def test_rows_are_typed_by_column(tmp_path: Path) -> None:
    task = read_task(TASK)
    assert (task.name, task.level) == ("Scaled", 2)
    assert task.rows[0] == {"case_id": 0, "shape": "[4, 8]", "dtype": "float32", "factor": 2.0, "fast": True}
    table = tmp_path / "cases.csv"
    table.write_text("a;b\n1;x\n;y\n")
    first, second = read_rows(table)
    assert (first["a"], first["b"], math.isnan(second["a"]), second["case_id"]) == (1.0, "x", True, 1)
    table.write_text("a;b\n1\n")
    with pytest.raises(UsageError, match="a cell for each column"):
        read_rows(table)
    with pytest.raises(UsageError, match="validation/module"):
        read_task(tmp_path)


def test_the_reference_passes_itself() -> None:
    report = run(measure_s=0.01)
    assert [(one.passed, one.published and one.published.passed) for one in report.results] == [
        (True, True)
    ] * 2
    assert report.performance.status == "passed"


def test_a_shorter_list_passes_the_public_judge_only_and_a_sound_one_both() -> None:
    report = run("scaled")
    assert report.correctness.status == "refused"
    short, whole = report.results
    assert [one.rule for one in short.judged.refusals] == ["KERNEL-COUNT"]
    assert whole.passed
    assert all(one.published is not None and one.published.passed for one in report.results)


def test_a_case_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no case 9"):
        run(cases=("9",))
