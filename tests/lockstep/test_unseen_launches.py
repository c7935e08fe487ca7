"""A path that does not say what it is about to launch: the run goes on, and what that costs is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.lockstep.runs import run
from tracing.stages import DecodePath, StageWatch


class Mumbling:
    """A watch that hears nothing of verify, and of the draft another word."""

    def __init__(self, watch: StageWatch) -> None:
        self._watch = watch

    def about_to_run(self, stage: str, columns: Mapping[str, Any]) -> None:
        if stage == "draft":
            columns = {"prefix_length": columns["committed_len"]}
        if stage != "verify":
            self._watch.about_to_run(stage, columns)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watch, name)


def mumbling(path: DecodePath) -> DecodePath:
    return replace(path, begin=lambda watch, *chooser: path.begin(Mumbling(watch), *chooser))


def test_launches_that_were_not_told_are_named(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", path=mumbling)
    assert outcome.log.findings == []
    steps = outcome.staged.finished[0].step
    silent, other = outcome.staged.unseen().items()
    assert silent[0].startswith("verify.inputs: about_to_run was never called with 'verify'")
    assert other[0].startswith("draft.prefix_length: about_to_run named it")
    assert (silent[1], other[1]) == (steps, steps)


def test_a_silent_prefill_counts_once_a_turn(tmp_path: Path) -> None:
    class Silent(Mumbling):
        def about_to_run(self, stage: str, columns: Mapping[str, Any]) -> None:
            if stage != "prefill":
                self._watch.about_to_run(stage, columns)

    def silent(path: DecodePath) -> DecodePath:
        return replace(path, begin=lambda watch, *chooser: path.begin(Silent(watch), *chooser))

    outcome = run(tmp_path / "run", path=silent)
    ((what, times),) = outcome.staged.unseen().items()
    assert what.startswith("prefill.inputs: about_to_run was never called")
    assert times == 1 < outcome.staged.finished[0].step


def test_a_path_that_tells_all_is_not_named(tmp_path: Path) -> None:
    assert run(tmp_path / "run").staged.unseen() == {}
