"""The real torch_npu over the stub: our emulations live under the vendor's own schemas and Meta functions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.npu.operators import OPERATORS
from workbench.npu.schemas import pinned_schemas

pytestmark = pytest.mark.wheel
Runner = Callable[..., subprocess.CompletedProcess[str]]
HERE = Path(__file__).parent

UNDECLARED_WRITES = {"npu::npu_apply_rotary_pos_emb"}
"""Operators that overwrite inputs although the vendor's schema does not say so; `opcheck` rightly objects."""

META_NEEDS_A_DEVICE = {"npu::npu_fusion_attention"}
"""Operators whose Meta function starts the device (for a dropout seed); there is nothing to compare with."""


@pytest.fixture(scope="session")
def report(run_python: Runner, wheel_site: Path) -> dict[str, Any]:
    """What one process over the stub says of all emulations."""
    done = run_python(str(HERE / "report_emulations.py"), site=wheel_site)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 1, "torch_npu prints on standard output, which is for data"
    loaded: dict[str, Any] = json.loads(lines[0])
    return loaded


def test_the_real_wheel_is_imported_without_a_device(report: dict[str, Any]) -> None:
    used = report["backend"]
    assert (used["name"], used["torch_npu"], used["num_devices"], used["soc"]) == ("wheel", "2.13.0", 0, None)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_the_emulation_has_the_wheels_schema(report: dict[str, Any], name: str) -> None:
    """Bug: a new wheel changes an argument or a default, and the pinned string still says the old one."""
    assert report["schemas"][name] == pinned_schemas()[name]


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_the_call_site_is_the_vendors_function(report: dict[str, Any], name: str) -> None:
    assert report["same_operator"][name]


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_the_emulation_agrees_with_the_vendors_meta_function(report: dict[str, Any], name: str) -> None:
    """`opcheck`: no undeclared write or alias; shapes, strides and dtypes as the vendor's Meta function."""
    outcome = dict(report["checks"][name])
    if name in UNDECLARED_WRITES:
        assert outcome.pop("test_schema") != "SUCCESS"
        outcome.pop("test_faketensor", None)  # a Meta function that returns new tensors, by the same schema
    if name in META_NEEDS_A_DEVICE:
        assert "no Ascend device" in outcome.pop("test_faketensor")
    assert set(outcome.values()) <= {"SUCCESS"}, outcome


def test_no_schema_of_the_wheel_is_defined_again(report: dict[str, Any]) -> None:
    """Bug: defining a schema that exists raises, or hides the vendor's."""
    assert report["defined"] == []


def test_probes_of_shapes_see_what_the_vendors_meta_functions_say(report: dict[str, Any]) -> None:
    """Two experiments need no device: they also run, and answer, on tensors without data."""
    assert report["shape_probes"] == {"lse_off_shape": "(0,)", "nbsd_output": "(N, B, S, D)"}


def test_doctor_sees_no_drift(report: dict[str, Any]) -> None:
    assert report["drifted"] == []


def test_a_wrong_emulation_is_caught(report: dict[str, Any]) -> None:
    """The check above can fail: a kernel that answers in float32 where the Meta function says bfloat16."""
    outcome = report["wrong_emulation"]
    assert "Dtypes torch.float32 and torch.bfloat16 are not equal" in outcome["test_faketensor"]
