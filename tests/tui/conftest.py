"""One faulty run for all tests of the screen; skipped where the extra `tui` is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.view.traces import finding, leaked, write_run

pytest.importorskip("textual")

LEAK, CELL = leaked(step=5)


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two turns of eight steps; step 5 of each shows node 4 a node it must not see."""
    return write_run(
        tmp_path_factory.mktemp("runs") / "faulty",
        8,
        turns=2,
        changes=LEAK,
        findings=(
            finding(5, node=CELL[0]),
            finding(5, "target_token_ids", node=3, rule="ACC002", consequence=True),
            finding(5, node=CELL[0], turn=1),
        ),
    )


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three lawful steps."""
    return write_run(tmp_path_factory.mktemp("runs") / "clean")
