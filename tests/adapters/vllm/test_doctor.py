from __future__ import annotations

import pytest
from click.testing import CliRunner

from workbench.adapters.sglang import doctor as sglang
from workbench.adapters.sglang.doctor import sglang_statements
from workbench.adapters.sglang.install import UnsupportedSglangError
from workbench.adapters.vllm import doctor
from workbench.adapters.vllm.doctor import engine_statements
from workbench.cli.app import build_app


def words(environment: dict[str, str]) -> dict[str, str]:
    return {each.text: each.word for each in engine_statements(environment)}


def said(environment: dict[str, str], text: str) -> str:
    return next(word for sentence, word in words(environment).items() if text in sentence)


def test_a_list_of_plugins_has_to_name_ours() -> None:
    assert said({}, "VLLM_PLUGINS") == "ready"
    assert said({"VLLM_PLUGINS": "other, specwb"}, "VLLM_PLUGINS") == "ready"
    assert said({"VLLM_PLUGINS": "specwb_other"}, "does not list specwb") == "missing"


def test_settings_that_are_none_are_named() -> None:
    assert said({}, "SPECWB_TRACE is not set") == "missing"
    assert said({"SPECWB_TRACE": "run"}, "SPECWB_TRACE names run (ring") == "ready"
    assert said({"SPECWB_TRACE": "run", "SPECWB_TRACE_MODE": "all"}, "SPECWB_TRACE_MODE") == "differs"


def test_what_is_unproven_is_said() -> None:
    assert said({}, "vllm-ascend 0.23.0 on vllm 0.23.0") == "unproven"


def test_what_is_unproven_of_sglang_is_said_and_its_hooks_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (line,) = sglang_statements({})
    assert line.word == "unproven"
    assert "sglang 0.5.23: signatures read on" in line.text
    monkeypatch.setattr(sglang, "sglang_version", lambda: "0.5.24")

    def differs() -> None:
        raise UnsupportedSglangError("sglang 0.5.24: eagle_sample should take (a), it takes (b)")

    for look, word in ((differs, "differs"), (lambda: None, "ready")):
        monkeypatch.setattr(sglang, "require_known", look)
        found = {each.text: each.word for each in sglang_statements({"SPECWB_TRACE": "run"})}
        assert found["sglang 0.5.24"] == "ready"
        assert found["SPECWB_TRACE names run"] == "ready"
        assert next(found[text] for text in found if "sampl" in text or "is hooked" in text) == word
    done = CliRunner().invoke(build_app(), ["doctor", "--engine"], standalone_mode=False)
    assert "vllm is not installed" not in done.output
    assert "sglang 0.5.24" in done.output


def test_the_command_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed_version", lambda _: "")
    done = CliRunner().invoke(build_app(), ["doctor", "--engine"], standalone_mode=False)
    assert "vllm is not installed" in done.output
    assert done.return_value == 3
