"""At the command line a broken pair is one sentence on stderr and exit code 2; a doubtful one says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.pair_dirs import write_pair

ROOT = Path(__file__).parents[2]


def diff(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "prompt.txt").write_text("hello there")
    models = ("--model", str(folder / "teacher"), "--draft", str(folder / "drafter"))
    argv = ["diff", "--prompt", str(folder / "prompt.txt"), *models, "--out", str(folder / "run")]
    argv += ["--tree-nodes", "4", "--depth", "1", "--top-k", "2", "--max-new-tokens", "3", *more]
    return subprocess.run(
        [sys.executable, "-m", "specwb", *argv, "--npu-backend", "schemas"],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.parametrize("text", ["[" * 100_000, '{"hidden_size": ' + "9" * 5000 + "}", '{"a": 1e999}'])
def test_a_hostile_configuration_is_exit_2(tmp_path: Path, text: str) -> None:
    _, drafter = write_pair(tmp_path)
    (drafter / "config.json").write_text(text)
    done = diff(tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_guess_goes_with_the_verdict(tmp_path: Path) -> None:
    _, drafter = write_pair(tmp_path)
    config = json.loads((drafter / "config.json").read_text())
    config["eagle_aux_hidden_state_layer_ids"] = []
    (drafter / "config.json").write_text(json.dumps(config))
    done = diff(tmp_path)
    assert "these are a guess" in done.stdout
    data = json.loads(diff(tmp_path, "--format", "json", "--out", str(tmp_path / "again")).stdout)
    assert any("these are a guess" in warning for warning in data["warnings"])
