"""How a command ends: a full device, an interrupt at any time; each with its code, without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.recorded import write_run

ROOT = Path(__file__).parents[2]


def run(script: str, *argv: object, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    head = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import specwb\n"
    command = [sys.executable, "-c", head + script, *map(str, argv)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, env=env)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("argv", [("check",), ("trace", "info"), ("trace", "verify"), ("view", "--text")])
def test_a_full_device_behind_the_output_is_exit_3_and_one_sentence(
    tmp_path: Path, argv: tuple[str, ...]
) -> None:
    folder = write_run(tmp_path / "run")
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = run("sys.exit(specwb.main())", *argv, folder, stdout=full)
    finally:
        os.close(full)
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines() == ["specwb: the output cannot be written: No space left on device"]


@pytest.mark.parametrize("module", ["workbench.cli.run", "pyarrow", "workbench.report.check_text"])
def test_an_interrupt_while_modules_are_imported_is_exit_130(tmp_path: Path, module: str) -> None:
    script = (
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "sys.exit(specwb.main())\n"
    )
    done = run(script, "check", write_run(tmp_path / "run"))
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip().startswith("specwb: interrupted")
    assert len(done.stderr.strip().splitlines()) == 1
