"""Drives the port through `specwb diff` on a few tokens; run with `python -m pytest`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_port_agrees_with_the_reference(tmp_path: Path) -> None:
    """Every stage in `port.STAGES` gives what the reference gives."""
    command = [sys.executable, "-m", "specwb", "diff", "--prompt", "prompt.txt", "--fused", "port:factory"]
    command += ["--max-new-tokens", "24", "--out", str(tmp_path / "run"), "--format", "json"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1, 4}, done.stderr  # anything else did not come to a judgement
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    assert said["first_divergence"] is None, said["first_divergence"]
    assert said["verdict"] in {"ok", "near_tie"}, said["remark"]
