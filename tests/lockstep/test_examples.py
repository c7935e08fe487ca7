"""The example ports run as their docstrings say, and are judged in all that they provide."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checkpoints import synthetic
from tests.lockstep.test_command import diff


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    synthetic.hf_teacher(folder / "teacher")
    return folder / "teacher", synthetic.official(folder / "drafter")


@pytest.mark.parametrize(
    ("example", "missing"),
    [("cache_port", {"draft", "tensorize", "accept"}), ("loop_port", set())],
)
def test_an_example_is_ok(example: str, missing: set[str], pair: tuple[Path, Path], tmp_path: Path) -> None:
    """What is exercised counts whoever accepted: a port of prefill, verify and commit is not inconclusive."""
    done = diff(*pair, tmp_path, "--fused", f"examples.{example}:factory", "--format", "json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["verdict"] == "ok"
    assert all(stage in said["remark"] for stage in missing)
    assert said["coverage"]["branches"] > 0
    assert said["coverage"]["rejections"] > 0
