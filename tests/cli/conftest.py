"""Runs commands in this process, with what they print; one recorded run for all tests of replay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.pair_dirs import write_pair
from tests.cli.replaying import Recorded
from workbench.cli.run import run_command

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    exit_code: int
    out: str
    err: str


Specwb = Callable[..., Answer]


@pytest.fixture
def specwb(capsys: pytest.CaptureFixture[str]) -> Specwb:
    def run(*argv: object) -> Answer:
        capsys.readouterr()
        exit_code = run_command([str(each) for each in argv])
        said = capsys.readouterr()
        return Answer(exit_code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    teacher, drafter = write_pair(folder)
    (folder / "prompt.txt").write_text("hello there hello there")
    models = ("--model", str(teacher), "--draft", str(drafter))
    argv = ["diff", "--prompt", str(folder / "prompt.txt"), *models, "--out", str(folder / "run")]
    argv += ["--tree-nodes", "12", "--depth", "3", "--top-k", "4", "--max-new-tokens", "24"]
    done = subprocess.run(
        [sys.executable, "-m", "specwb", *argv, "--format", "json", "--npu-backend", "schemas"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return Recorded(folder / "run", models, json.loads(done.stdout))
