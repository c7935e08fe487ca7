"""Every command that loads a pair takes the kind of its drafter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from workbench.cli.replay_models import proposer_of
from workbench.cli.run import run_command

COMMANDS = (["bench"], ["diff"], ["doctor"], ["faults", "run"], ["replay", "RUN"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_kind_that_is_none_is_a_usage_error(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*command, "--proposer", "oracle"]) == 2
    assert "--proposer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "manifest", "expected"),
    [
        (None, {}, "eagle3"),
        (None, {"models": {"proposer": "lookup"}}, "lookup"),
        ("medusa", {"models": {"proposer": "lookup"}}, "medusa"),
    ],
)
def test_a_replay_takes_the_drafter_of_the_recording(asked: Any, manifest: Any, expected: str) -> None:
    run, wanted = SimpleNamespace(manifest=manifest), SimpleNamespace(proposer=asked)
    assert proposer_of(cast("Any", run), cast("Any", wanted)) == expected
