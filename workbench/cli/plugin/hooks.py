"""Hooks and fixtures of the plugin; `specwb.py` registers this module under its private name."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from workbench.cli.plugin.items import TraceCollector, ViolatedError, verdicts_of
from workbench.cli.plugin.recording import RECORDING, Recording
from workbench.cli.plugin.run_check import CheckFailedError, Options, run_check


def options_of(config: pytest.Config) -> Options:
    """Return what the command line asks for."""
    return Options(
        select=tuple(config.getoption("specwb_select")),
        ignore=tuple(config.getoption("specwb_ignore")),
        cwd=config.invocation_params.dir,
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the items of every `--specwb-trace`, before `-k` and `-m` choose among them."""
    for name in config.getoption("specwb_trace"):
        run = Path(config.invocation_params.dir, name)
        try:
            answer = run_check(run, options_of(config))
        except CheckFailedError as error:
            raise pytest.UsageError(f"--specwb-trace {name}: {error}") from None
        collector: TraceCollector = TraceCollector.from_parent(session, name=name, nodeid=name)
        collector.verdicts = verdicts_of(answer)
        items.extend(collector.collect())


@pytest.fixture
def specwb_recorder(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Recording]:
    """Record your engine's steps in a test; when the test body has passed, every invariant is checked.

    with specwb_recorder.step(step=0) as step:
        step.record(parents=..., token_ids=...)
    """
    recording = Recording(tmp_path / "specwb-trace")
    request.node.stash[RECORDING] = recording
    yield recording
    recording.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Check what a test has recorded, as the last thing of its body."""
    result = yield
    recording = item.stash.get(RECORDING, None)
    wrong = "" if recording is None else _wrong_in(recording, options_of(item.config))
    if wrong:
        pytest.fail(wrong, pytrace=False)
    return result


def _wrong_in(recording: Recording, options: Options) -> str:
    """Return what is wrong with a recording, empty for nothing; as text, without an exception chain."""
    try:
        recording.check(options)
    except (ViolatedError, CheckFailedError) as error:
        return str(error)
    return ""
