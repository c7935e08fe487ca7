"""What a typical change touches, counted by patches: each is applied to a copy, and its own test runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("tracing", "invariants", "reference", "workbench")
PATCHES = {
    "toy_column": 4,
    "added_rule": 2,
    "toy_drafter": 6,
    "toy_chooser": 8,
    "added_fault": 1,
    "added_panel": 2,
    "added_format": 2,
}
"""Patch to the number of product files that it may touch."""


def product_files(patch: str) -> set[str]:
    """Return the product files that a patch changes or adds, the console script's module included."""
    changed = {line.removeprefix("+++ b/") for line in patch.splitlines() if line.startswith("+++ b/")}
    return {name for name in changed if name.split("/")[0] in PRODUCT or "/" not in name}


def own_tests(patch: str) -> list[str]:
    """Return the test modules that a patch adds."""
    changed = [line.removeprefix("+++ b/") for line in patch.splitlines() if line.startswith("+++ b/")]
    return [name for name in changed if name.startswith("tests/") and Path(name).name.startswith("test_")]


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_is_small_and_its_own_test_passes(tmp_path: Path, name: str) -> None:
    patch = ROOT / "tests" / "patches" / f"{name}.patch"
    text = patch.read_text()
    assert 0 < len(product_files(text)) <= PATCHES[name], sorted(product_files(text))
    assert own_tests(text)
    copy = tmp_path / "tree"
    copy.mkdir()
    for part in (*PRODUCT, "tests", "traces", "examples", "specwb.py", "pyproject.toml"):
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / part)
    subprocess.run(["git", "init", "-q"], cwd=copy, check=True)  # else git takes the paths from another root
    subprocess.run(["git", "apply", "-C1", str(patch)], cwd=copy, check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *own_tests(text)]
    ran = subprocess.run(
        command, cwd=copy, env=_environment(copy), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]


def _environment(copy: Path) -> dict[str, str]:
    """The copy's modules come before the installed ones."""
    import os

    return {**os.environ, "PYTHONPATH": str(copy)}
