"""Who may import whom, cold: what a fresh process really loads, and that the probe can see a heavy import."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "textual", "hypothesis", "torch_npu", "xxhash")

LIGHT = {
    "specwb": set(HEAVY) | {"tracing", "invariants", "workbench", "numpy", "pyarrow"},
    "tracing.recorder": set(HEAVY),
    "tracing.reader": set(HEAVY),
    "tracing.conformance": set(HEAVY),
    "invariants.catalogue": set(HEAVY) | {"pyarrow"},
    "invariants.run": set(HEAVY) | {"pyarrow"},
    "workbench.judge.step": set(HEAVY) | {"pyarrow"},
    "workbench.judge.align": set(HEAVY) | {"pyarrow"},
    "workbench.report.text": set(HEAVY),
    "workbench.view.safe_text": set(HEAVY),
    "workbench.cli.app": set(HEAVY) | {"numpy", "pyarrow"},
    "workbench.cli.diff": set(HEAVY),
    "workbench.cli.doctor": set(HEAVY),
    "workbench.cli.check": set(HEAVY),
    "workbench.cli.explain": set(HEAVY),
    "workbench.cli.trace": set(HEAVY),
    "workbench.cli.weights": set(HEAVY),
    "workbench.checkpoints.packed_stat": set(HEAVY),
    "workbench.cli.lossless": set(HEAVY) | {"pyarrow"},
    "workbench.lossless.trial": set(HEAVY) | {"pyarrow"},
    "workbench.npu.bootstrap": set(HEAVY),
}
"""Module -> packages that importing it must not load."""


def loaded_by(statement: str) -> set[str]:
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("module", LIGHT)
def test_a_cold_import_stays_light(module: str) -> None:
    assert loaded_by(f"import {module}") & LIGHT[module] == set()


@pytest.mark.parametrize(
    ("module", "heavy"), [("reference.masked", "torch"), ("workbench.tui.app", "textual")]
)
def test_the_probe_sees_a_heavy_import(module: str, heavy: str) -> None:
    assert heavy in loaded_by(f"import {module}")


BREACHES = {
    "rooms import downwards only": ("workbench/view/safe_text.py", "import workbench.cli.app"),
    "inside lockstep imports go downwards only": (
        "workbench/lockstep/engine/step.py",
        "import workbench.lockstep.staged.run",
    ),
    "the fused path knows only npu and tracing": ("workbench/fused/accept.py", "import reference.accept"),
    "no torch in tracing, invariants, judge, view, report, weights": (
        "workbench/judge/rows.py",
        "import torch",
    ),
    "only npu imports torch_npu": ("reference/accept.py", "import torch_npu"),
    "only tui imports textual": ("workbench/cli/diff.py", "import textual"),
    "only invariants.strategies and lossless.smallest import hypothesis": (
        "tracing/moment.py",
        "import hypothesis",
    ),
}
"""Import contract -> a file and the import that breaks it."""


def test_the_import_contracts_hold_and_can_fail(tmp_path: Path) -> None:
    """`lint-imports` is run as CI does, then on a copy in which every contract is broken."""
    import shutil

    def lint(folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    kept = lint(ROOT)
    assert kept.returncode == 0, kept.stdout
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("tracing", "invariants", "reference", "workbench"):
        unneeded = shutil.ignore_patterns("*.safetensors", "__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=unneeded)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for file, statement in BREACHES.values():
        guilty = copy / file
        guilty.write_text(f"{guilty.read_text()}\n{statement}\n")
    broken = lint(copy)
    assert broken.returncode == 1
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} == set(BREACHES)
    assert [name for name in BREACHES if f"{name} BROKEN" not in broken.stdout] == []
