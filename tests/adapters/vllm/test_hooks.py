from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from invariants.context import RunContext
from invariants.launches.checker import LaunchChecker
from invariants.outcome import Violated
from tracing.run_facts import ModelFacts
from workbench.adapters.vllm import install, patches, plugin
from workbench.adapters.vllm.copies import HostCopy
from workbench.adapters.vllm.install import UnsupportedEngineError, checked
from workbench.adapters.vllm.manifest import HOST_LENGTHS, NOT_SPLIT, begin
from workbench.adapters.vllm.patches import wrap
from workbench.adapters.vllm.settings import RecorderSettings
from workbench.adapters.vllm.signatures import ASCEND_RUNNER, KNOWN, RUNNER_V1, HookedClass
from workbench.adapters.vllm.worker import WorkerRecorder

ROOT = Path(__file__).parents[3]


class Engine:
    def work(self, number: int, *, times: int = 1) -> int:
        if number < 0:
            raise KeyError(number)
        return number * times


def test_the_entry_point_is_the_plugin() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    module, name = points["vllm.general_plugins"]["specwb"].split(":")
    assert getattr(import_module(module), name) is plugin.register


def test_without_the_variable_nothing_is_imported() -> None:
    code = (
        "import sys; from workbench.adapters.vllm.plugin import register; register(); "
        "print([n for n in sys.modules if n.startswith(('torch', 'numpy', 'pyarrow', 'tracing', 'vllm'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={}, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_an_engine_that_is_not_there_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPECWB_TRACE", str(tmp_path / "run"))
    plugin.register()
    assert "nothing is recorded" in caplog.text
    assert not (tmp_path / "run").exists()


def test_hooks_see_and_never_change(caplog: pytest.LogCaptureFixture) -> None:
    class Wrapped(Engine):
        pass

    seen: list[Any] = []

    def fails(*_: Any) -> None:
        raise RuntimeError("ours")

    wrap(Wrapped, "work", lambda engine, args, kwargs: seen.append((args, kwargs)), fails)
    wrap(Wrapped, "work", fails)
    assert Wrapped().work(2, times=3) == 6
    with pytest.raises(KeyError):
        Wrapped().work(-1)
    assert seen == [((2,), {"times": 3}), ((-1,), {})]
    assert "ours" in caplog.text
    assert Engine.work is not Wrapped.work


def test_a_method_with_other_parameters_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = __name__
    monkeypatch.setitem(sys.modules, name, sys.modules.get(name) or type(sys)(name))
    monkeypatch.setattr(sys.modules[name], "Engine", Engine, raising=False)
    assert checked(HookedClass(name, "Engine", {"work": ("self", "number", "times")})) is Engine
    with pytest.raises(UnsupportedEngineError, match=r"Engine.work should take \(self, number\), it takes"):
        checked(HookedClass(name, "Engine", {"work": ("self", "number")}))
    with pytest.raises(UnsupportedEngineError, match="it is not there"):
        checked(HookedClass(name, "Engine", {"rest": ("self",)}))

    own, other = Engine, type("Other", (Engine,), {"work": lambda self, *_: 0})
    monkeypatch.setattr(sys.modules[name], "Engine", other)
    assert checked(HookedClass(name, "Engine", {"work": ("self", "number", "times")})) is own


@pytest.mark.parametrize(("ascend", "vllm"), [("0.24.0", "0.24.0"), ("0.23.0", "0.32.0")])
def test_pairs_that_are_not_known_are_refused_by_name(
    ascend: str, vllm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "installed_version", {"vllm": vllm, "vllm-ascend": ascend}.__getitem__)
    with pytest.raises(UnsupportedEngineError, match=f"vllm-ascend {ascend} on vllm {vllm} is not known"):
        install.install(RecorderSettings(Path("nowhere"), "a"))


def test_a_copy_is_what_the_tensor_was() -> None:
    buffer = torch.arange(4)
    copy = HostCopy(buffer[1:3])
    buffer.zero_()
    assert copy.array().tolist() == [1, 2]


def test_what_fails_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise ValueError("only once")

    for _ in range(3):
        assert patches.guarded(broken) is None
    assert caplog.text.count("only once") == 1


def test_signatures_begin_with_self_and_name_what_the_hooks_read() -> None:
    for engine in KNOWN:
        for each in engine.classes:
            assert all(parameters[0] == "self" for parameters in each.methods.values())
    for runner in (RUNNER_V1, ASCEND_RUNNER):
        assert {"input_ids", "positions"} <= set(runner.methods["_model_forward"])
        assert runner.methods["_sample"][1:] == ("logits", "spec_decode_metadata")


@pytest.mark.parametrize("name", NOT_SPLIT)
def test_a_model_that_is_split_otherwise_than_by_heads_is_not_recorded(name: str) -> None:
    sizes = SimpleNamespace(**{name: 2})
    runner = SimpleNamespace(vllm_config=SimpleNamespace(parallel_config=sizes))
    worker = WorkerRecorder(RecorderSettings(Path("nowhere"), "a"))
    with pytest.raises(NotImplementedError, match=f"{name} 2 is not recorded"):
        begin(worker, runner)
    assert not worker.has_begun


@pytest.mark.parametrize(
    ("kernel", "is_exact"),
    [("Ascend", True), ("AscendMLA", False), ("AscendSFA", False), ("CPUAttention", False)],
)
def test_the_host_s_lengths_are_exact_where_the_operator_reads_those_recorded(
    kernel: str, *, is_exact: bool
) -> None:
    facts = ModelFacts(host_lengths=HOST_LENGTHS)
    row = {"launch": 0, "request_id": "a", "kv_len": 7, "kernel": kernel}
    checkers = [(LaunchChecker("fused", RunContext(model_facts=facts)), host) for host in (7, 9)]
    said = [checker.launch([{**row, "kv_len_host": host}]) for checker, host in checkers]
    found = [any(isinstance(one, Violated) and one.rule == "REQ011" for one in each) for each in said]
    assert found == [False, is_exact]
