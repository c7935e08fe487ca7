from __future__ import annotations

import pytest
from click.testing import CliRunner

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


def test_the_command_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed_version", lambda _: "")
    done = CliRunner().invoke(build_app(), ["doctor", "--engine"], standalone_mode=False)
    assert "vllm is not installed" in done.output
    assert done.return_value == 3
