from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.adapters.vllm import install, patches, plugin
from workbench.adapters.vllm.copies import HostCopy
from workbench.adapters.vllm.install import UnsupportedEngineError, checked
from workbench.adapters.vllm.patches import wrap
from workbench.adapters.vllm.settings import RecorderSettings
from workbench.adapters.vllm.signatures import ASCEND_RUNNER, KNOWN, RUNNER_V1, HookedClass

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
    assert checked(HookedClass(name, "Engine", {"work": ("self",)}), needed_only=True) is Engine
    with pytest.raises(UnsupportedEngineError, match="it is not there"):
        checked(HookedClass(name, "Engine", {"rest": ("self",)}), needed_only=True)


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
