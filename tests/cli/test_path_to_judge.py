"""The path that `replay` judges is the one under test, whatever the paths are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracing.reader import open_run
from tracing.recorder import RunWriter
from workbench.cli.replay_summary import path_under_test_of


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("reference", "engine"), "engine"),
        (("engine", "reference"), "engine"),
        (("reference", "fused"), "fused"),
        (("engine",), "engine"),
    ],
)
def test_the_reference_is_never_taken_for_it(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    with RunWriter(tmp_path / "run", {}) as writer:
        for name in names:
            writer.path(name)
    assert path_under_test_of(open_run(tmp_path / "run"), None) == expected
