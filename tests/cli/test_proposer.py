"""Every command that loads a pair takes the kind of its drafter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from workbench.cli import bench, diff, doctor, faults, replay
from workbench.cli.replay_models import proposer_of

COMMANDS: Any = [bench.command, diff.command, doctor.command, faults.run, replay.command]


@pytest.mark.parametrize("command", COMMANDS, ids=["bench", "diff", "doctor", "faults run", "replay"])
def test_a_kind_that_is_none_is_a_usage_error(command: Any) -> None:
    outcome = CliRunner().invoke(command, ["--proposer", "oracle"])
    assert outcome.exit_code == 2
    assert "--proposer" in outcome.output


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
