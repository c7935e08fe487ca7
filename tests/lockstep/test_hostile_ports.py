"""A port's own mistakes are findings with its own frames; none of them ends the workbench."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import pytest
import torch

from tests.lockstep.hostile_runs import Runs, require_found, require_orderly
from tracing.errors import LaunchRefusedError, UsageError
from tracing.moment import STAGES
from workbench.lockstep.engine.checked_stages import StageFailedError

AROUND = {"begin": "prefill", "kv_rows": "prefill", "kv_lengths": "prefill", "snapshot": "draft"}
"""Members that are no stages, and the stage around which each is first called."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("hostile"))


class MuteError(Exception):
    def __str__(self) -> str:
        raise SystemExit(5)

    __repr__ = __str__


class LyingError(Exception):
    @property
    def __class__(self) -> Any:  # type: ignore[override]  # what a port may do
        raise RuntimeError("no class")

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise RuntimeError("no class")


class NakedError(BaseException):
    pass


ERRORS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("wrong \udc80 \x1b[31m"),
    "SystemExit": lambda: SystemExit(0),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "NakedError": NakedError,
    "MuteError": MuteError,
    "LyingError": LyingError,
    "MemoryError": MemoryError,
    "StopIteration": StopIteration,
    "CancelledError": asyncio.CancelledError,
    "Abort": click.Abort,
    "Exit": lambda: click.exceptions.Exit(0),
    "UsageError": lambda: UsageError("mine"),
    "LaunchRefusedError": lambda: LaunchRefusedError("draft", ()),
    "StageFailedError": lambda: StageFailedError("draft", ()),
    "ModuleNotFoundError": lambda: ModuleNotFoundError("no torch", name="torch"),
    "BrokenPipeError": BrokenPipeError,
    "long": lambda: RuntimeError("x" * 10_000_000),
}


def raising(make: Callable[[], BaseException]) -> Callable[..., Any]:
    def act(sound: Any, given: Any) -> Any:
        raise make()

    return act


@pytest.mark.parametrize("kind", ERRORS)
def test_whatever_a_stage_raises_is_a_finding_with_its_frames(runs: Runs, kind: str) -> None:
    ended = runs.misbehaving("verify", raising(ERRORS[kind]), from_call=2)
    require_found(ended, "verify", frame="test_hostile_ports.py")
    assert "raise make()" in ended.first["frames"][-1]
    assert ended.first["rule"] == "RUN-STAGE-RAISED"
    assert len(ended.first["message"]) < 1000


@pytest.mark.parametrize("member", [*STAGES, *AROUND])
@pytest.mark.parametrize("kind", ["ValueError", "SystemExit", "MuteError"])
def test_whatever_member_raises_is_named(runs: Runs, member: str, kind: str) -> None:
    ended = runs.misbehaving(member, raising(ERRORS[kind]))
    require_found(ended, AROUND.get(member, member), frame="test_hostile_ports.py")
    assert member in ended.first["message"]


@pytest.mark.parametrize("kind", ["ValueError", "SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("member", ["begin", "draft", "commit"])
def test_free_lockstep_finds_them_too(runs: Runs, member: str, kind: str) -> None:
    ended = runs.misbehaving(member, raising(ERRORS[kind]), "--lockstep", "free")
    require_found(ended, AROUND.get(member, member), frame="test_hostile_ports.py")


def test_a_recursion_without_end_shows_its_last_frames(runs: Runs) -> None:
    def deep(sound: Any, given: Any) -> Any:
        return deep(sound, given)

    ended = runs.misbehaving("accept", deep)
    require_found(ended, "accept", frame="in deep: return deep(sound, given)")
    assert len(ended.first["frames"]) <= 8


@pytest.mark.parametrize("member", ["kv_rows", "kv_lengths"])
@pytest.mark.parametrize(
    "value",
    [
        *(
            0,
            "text",
            [],
            object(),
            np.zeros((1, 2)),
            torch.zeros(1, 3, 1, 1, 1),
            torch.zeros(3, device="meta"),
        ),
        *((-1,), (1.5,), (None,), torch.zeros(5, 5).to_sparse(), {"a": 1}),
    ],
)
def test_a_window_that_gives_something_else_is_a_finding(runs: Runs, member: str, value: Any) -> None:
    ended = runs.misbehaving(member, lambda sound, given: value)
    if (member, value if isinstance(value, list) else None) == ("kv_lengths", []):
        require_orderly(ended)  # no layers, so no cache
        return
    require_found(ended, "prefill")
    assert ended.first["column"] == member


@pytest.mark.parametrize("value", [None, 0, object()])
def test_a_snapshot_that_is_no_state_ends_nothing(runs: Runs, value: Any) -> None:
    require_orderly(runs.misbehaving("snapshot", lambda sound, given: value))


@pytest.mark.parametrize("value", [None, 0, object()])
def test_a_state_that_is_none_is_the_prefills_finding(runs: Runs, value: Any) -> None:
    require_found(runs.misbehaving("begin", lambda sound, given: value), "prefill")


def test_a_port_that_writes_into_the_prompt_does_not_change_ours(runs: Runs) -> None:
    def act(sound: Any, given: Any) -> Any:
        made = sound(*given)
        given[1].clear()
        return made

    ended = runs.misbehaving("prefill", act)
    require_orderly(ended)
    assert ended.code == 0


def change_settings() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(3)
    torch.set_default_device("meta")
    np.seterr(all="raise")
    warnings.simplefilter("error")


@pytest.mark.parametrize("member", ["begin", "draft", "commit"])
def test_settings_of_the_process_that_a_port_changes_are_its_own(runs: Runs, member: str) -> None:
    before = (torch.get_default_dtype(), torch.get_num_threads(), torch.get_default_device(), np.geterr())
    filters = list(warnings.filters)

    def act(sound: Any, given: Any) -> Any:
        made = sound(*given)
        change_settings()
        return made

    ended = runs.misbehaving(member, act)
    require_orderly(ended)
    now = (torch.get_default_dtype(), torch.get_num_threads(), torch.get_default_device(), np.geterr())
    assert now == before
    assert torch.is_grad_enabled()
    assert warnings.filters == filters
    assert not [each for each in ended.summary["findings"] if each["rule"] != "RUN-STAGE-RAISED"]


def test_what_a_port_changes_it_finds_again(runs: Runs) -> None:
    seen = []

    def act(sound: Any, given: Any) -> Any:
        seen.append(torch.get_default_dtype())
        made = sound(*given)
        torch.set_default_dtype(torch.float64)
        return made

    assert runs.misbehaving("accept", act).code == 0
    assert seen == [torch.float32] + [torch.float64] * (len(seen) - 1)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda: (_ for _ in ()).throw(SystemExit(0)), "raised SystemExit: 0"),
        (lambda: (_ for _ in ()).throw(MuteError()), "raised MuteError"),
        (lambda: (_ for _ in ()).throw(UsageError("head dims of 4 are not mine")), "head dims of 4"),
    ],
)
def test_a_factory_that_raises_is_bad_input_with_its_frames(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, what: Any, said: str
) -> None:
    monkeypatch.setattr("tests.lockstep.hostile_ports.factory", lambda *a, **k: what())
    ended = runs.diff()
    assert ended.code == 2
    assert said in ended.complaint
    assert ended.complaint.count("\n") == 1
    assert not ended.folder.exists()
