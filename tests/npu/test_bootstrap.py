"""Which backend a process uses, why, and what it says when there is none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tracing.errors import EnvironmentProblemError, UsageError
from tracing.settings import BackendName
from workbench.npu import bootstrap as boot
from workbench.npu.bootstrap import Backend, bootstrap
from workbench.npu.machine import Package, device_nodes, require_matching

Runner = Callable[..., subprocess.CompletedProcess[str]]
SAY = "from workbench.npu.bootstrap import bootstrap; used = bootstrap({}); print(used.name, '|', used.why)"


@pytest.fixture
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the backend of this process, and choose none for real."""
    monkeypatch.setattr(boot, "_chosen", [])
    for name in ("SPECWB_NPU_BACKEND", "SPECWB_NPU_WAY"):
        monkeypatch.delenv(name, raising=False)


def closed(reason: str) -> Callable[[str], Backend]:
    def enter(_why: str) -> Backend:
        raise EnvironmentProblemError(reason)

    return enter


def opened(name: str) -> Callable[[str], Backend]:
    return lambda why: Backend(name, why)


def use_backends(monkeypatch: pytest.MonkeyPatch, **backends: Callable[[str], Backend]) -> None:
    monkeypatch.setattr(boot, "_BACKENDS", backends)


@pytest.mark.parametrize(
    ("environment", "passive", "policy"),
    [({}, True, "passive"), ({}, False, None), ({"OMP_WAIT_POLICY": "active"}, True, "active")],
)
def test_threads_wait_asleep_unless_the_user_or_a_benchmark_says_otherwise(
    environment: dict[str, str],
    passive: bool,
    policy: str | None,
    fresh_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(boot, "_BACKENDS", {"schemas": opened("schemas")})
    monkeypatch.setattr(os, "environ", environment)
    bootstrap(passive=passive)
    assert environment.get("OMP_WAIT_POLICY") == policy
    assert environment.get("KMP_BLOCKTIME") == ("0" if policy == "passive" else None)


@pytest.mark.usefixtures("fresh_process")
class TestChoice:
    def test_the_first_available_backend_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        use_backends(monkeypatch, device=opened("device"), wheel=opened("wheel"), schemas=opened("schemas"))
        assert bootstrap().name == "device"

    def test_every_unavailable_backend_leaves_its_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        use_backends(monkeypatch, device=closed("no node"), wheel=closed("no gcc"), schemas=opened("schemas"))
        assert bootstrap() == Backend("schemas", "no device: no node; no wheel: no gcc")

    def test_all_closed_is_one_sentence_with_all_reasons(self, monkeypatch: pytest.MonkeyPatch) -> None:
        use_backends(monkeypatch, device=closed("no node"), schemas=closed("no torch"))
        with pytest.raises(EnvironmentProblemError, match=r"no device: no node; no schemas: no torch$"):
            bootstrap()

    def test_a_forced_backend_never_falls_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        use_backends(monkeypatch, device=closed("no node"), schemas=opened("schemas"))
        with pytest.raises(EnvironmentProblemError, match=r"^no node$"):
            bootstrap("device")

    @pytest.mark.parametrize("variable", ["SPECWB_NPU_BACKEND", "SPECWB_NPU_WAY"])
    def test_the_variable_forces_and_the_argument_wins(
        self, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        use_backends(monkeypatch, wheel=opened("wheel"), schemas=opened("schemas"))
        monkeypatch.setenv(variable, "schemas")
        assert bootstrap("wheel").name == "wheel"
        monkeypatch.setattr(boot, "_chosen", [])
        assert bootstrap().name == "schemas"

    def test_a_second_call_keeps_the_backend_and_refuses_another(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use_backends(monkeypatch, wheel=opened("wheel"), schemas=opened("schemas"))
        first = bootstrap("schemas")
        assert bootstrap() is first
        assert bootstrap("schemas") is first
        with pytest.raises(EnvironmentProblemError, match="already uses schemas"):
            bootstrap("wheel")

    def test_the_accepted_names_are_those_of_the_backends(self) -> None:
        assert get_args(BackendName) == ("auto", *boot._BACKENDS)

    def test_an_unknown_backend_is_a_usage_error(self) -> None:
        with pytest.raises(UsageError, match=r"auto, device, wheel, schemas, got 'gpu'"):
            bootstrap("gpu")

    def test_a_failed_bootstrap_leaves_the_next_one_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        use_backends(monkeypatch, device=closed("no node"), schemas=opened("schemas"))
        with pytest.raises(EnvironmentProblemError):
            bootstrap("device")
        assert bootstrap().name == "schemas"


class TestMachine:
    def test_only_numbered_nodes_are_devices(self, tmp_path: Path) -> None:
        """`davinci_manager` is there on every machine with the driver, with or without a chip."""
        for name in ("davinci0", "davinci12", "davinci_manager", "null"):
            (tmp_path / name).touch()
        assert device_nodes(tmp_path) == ("davinci0", "davinci12")

    @pytest.mark.parametrize(("torch", "fits"), [("2.13.0+cpu", True), ("2.13.0", True), ("2.12.1", False)])
    def test_wheel_and_torch_must_be_of_one_release(self, torch: str, fits: bool) -> None:
        wheel = Package(Path(), "2.13.0.post1")
        if fits:
            require_matching(Package(Path(), torch), wheel)
        else:
            with pytest.raises(EnvironmentProblemError, match=r"needs torch 2\.13\.0, found 2\.12\.1"):
                require_matching(Package(Path(), torch), wheel)


class TestProcesses:
    def test_bootstrap_imports_torch_only_after_choosing(self, run_python: Runner) -> None:
        code = "import sys, workbench.npu.bootstrap, workbench.npu.dispatch; print('torch' in sys.modules)"
        assert run_python("-c", code).stdout == "False\n"

    def test_a_device_comes_first(self, run_python: Runner, tmp_path: Path) -> None:
        """A stand-in package plays the wheel of a machine with two devices; it prints, as the real one."""
        package = tmp_path / "torch_npu"
        package.mkdir()
        (package / "__init__.py").write_text(
            "print('chatter')\n__version__ = '2.13.0'\n"
            "class npu:\n"
            "    device_count = staticmethod(lambda: 2)\n"
            "    get_device_name = staticmethod(lambda number: 'Ascend910B3')\n"
        )
        code = "import workbench.npu.bootstrap as b; b.device_nodes = lambda: ('davinci0', 'davinci1')\n"
        done = run_python("-c", code + "print(b.bootstrap())", site=tmp_path)
        expected = Backend("device", "2 Ascend device(s)", "2.13.0", 2, "Ascend910B3")
        assert done.stdout == f"{expected}\n", done.stderr
        assert done.stderr == "chatter\n"

    def test_a_node_without_a_working_wheel_is_told(self, run_python: Runner, tmp_path: Path) -> None:
        package = tmp_path / "torch_npu"
        package.mkdir()
        (package / "__init__.py").write_text("raise ImportError('libhccl.so: cannot open shared object')\n")
        code = "import workbench.npu.bootstrap as b; b.device_nodes = lambda: ('davinci0',)\n"
        done = run_python("-c", code + "print(b.bootstrap('device'))", site=tmp_path)
        last = done.stderr.strip().splitlines()[-1]
        assert "cannot be imported: libhccl.so" in last
        assert "EnvironmentProblemError" in last


@pytest.mark.wheel
class TestWithTheWheelInstalled:
    def test_no_compiler_falls_back_and_other_libraries_still_import(
        self, run_python: Runner, wheel_site: Path, tmp_path: Path
    ) -> None:
        """Bug: with the wheel installed and no CANN, plain `import torch` and `import transformers` fail."""
        asks = "from transformers.utils import is_torch_npu_available as asks; print(asks())"
        code = f"{SAY.format('')}; import torch; {asks}"
        environment = {"PATH": "", "XDG_CACHE_HOME": str(tmp_path)}
        done = run_python("-c", code, site=wheel_site, environment=environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("schemas | no device: ")
        assert "no wheel: building stub CANN libraries needs nm" in done.stdout
        assert done.stdout.endswith("\nFalse\n")

    def test_no_compiler_and_forced_wheel_is_one_sentence(
        self, run_python: Runner, wheel_site: Path, tmp_path: Path
    ) -> None:
        tools = tmp_path / "bin"
        tools.mkdir()
        for tool in ("nm", "ldd"):
            (tools / tool).write_text("#!/bin/sh\n")
            (tools / tool).chmod(0o755)
        environment = {"PATH": str(tools), "CC": "", "XDG_CACHE_HOME": str(tmp_path)}
        done = run_python("-c", SAY.format("'wheel'"), site=wheel_site, environment=environment)
        last = done.stderr.strip().splitlines()[-1]
        assert last.endswith("building stub CANN libraries needs a C compiler, none on PATH; install gcc")

    def test_the_variable_forces_plain_torch(self, run_python: Runner, wheel_site: Path) -> None:
        environment = {"SPECWB_NPU_BACKEND": "schemas"}
        code = SAY.format("") + "; import importlib.util as u; print(u.find_spec('torch_npu'))"
        done = run_python("-c", code, site=wheel_site, environment=environment)
        assert done.stdout == "schemas | forced\nNone\n", done.stderr

    def test_torch_before_bootstrap_is_told(self, run_python: Runner, wheel_site: Path) -> None:
        """`import torch` fails without CANN, and a second try in that process cannot work: it says so."""
        code = "try:\n    import torch\nexcept RuntimeError:\n    pass\n" + SAY.format("")
        done = run_python("-c", code, site=wheel_site)
        last = done.stderr.strip().splitlines()[-1]
        assert "call bootstrap() before the first import of torch" in last

    def test_torch_before_bootstrap_works_where_it_could_be_imported(
        self, run_python: Runner, wheel_site: Path
    ) -> None:
        """Near miss of the case above: autoload was off, torch is whole, the stubs still come in time."""
        environment = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "ASCEND_HOME_PATH": os.devnull}
        code = f"import torch; {SAY.format('')}; import os; print(os.environ['ASCEND_HOME_PATH'])"
        done = run_python("-c", code, site=wheel_site, environment=environment)
        assert done.stdout.startswith("wheel | no device: "), done.stderr
        assert done.stdout.endswith(f"\n{os.devnull}\n")
