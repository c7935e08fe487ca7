"""The real torch_npu wheel in a folder of its own, and Python processes that see it or do not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tracing.errors import EnvironmentProblemError
from workbench.npu.schemas import PINNED_VERSION
from workbench.npu.stub.build import find_compiler
from workbench.weights.compile_gate import cache_folder

ROOT = Path(__file__).parents[2]
Runner = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_python() -> Runner:
    """Run code or a script with warnings as errors; variables that choose a backend are not inherited."""

    def run(
        *arguments: str, site: Path | None = None, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name
            not in {"SPECWB_NPU_BACKEND", "SPECWB_NPU_WAY", "TORCH_DEVICE_BACKEND_AUTOLOAD", "PYTHONPATH"}
        }
        path = os.pathsep.join(str(folder) for folder in (ROOT, site) if folder is not None)
        return subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            env={**inherited, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture(scope="session")
def wheel_site() -> Path:
    """A folder that holds nothing but the real wheel, installed once and kept in the user's cache."""
    try:
        find_compiler()
    except EnvironmentProblemError as problem:
        pytest.fail(str(problem), pytrace=False)
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    folder = cache_folder() / "test-wheels" / f"torch_npu-{PINNED_VERSION}-{python}"
    if not folder.is_dir():
        _install(folder)
    return folder


def _install(folder: Path) -> None:
    """Install beside the final place and rename: a broken or concurrent install is never seen."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as work:
        fresh = Path(work) / "site"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(fresh)]
        done = subprocess.run(
            [*command, f"torch_npu=={PINNED_VERSION}"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            pytest.fail(f"pip could not fetch torch_npu=={PINNED_VERSION}: {last}", pytrace=False)
        try:
            fresh.rename(folder)
        except OSError:
            assert folder.is_dir()  # another worker was first
