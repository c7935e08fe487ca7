"""The default folder of a run: runs that start in the same second each get their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tracing.errors import EnvironmentProblemError
from workbench.cli.fresh_folder import fresh_folder


def test_folders_asked_for_at_once_all_differ(tmp_path: Path) -> None:
    """Looking for a free name first and making it later gave two runs of one second the same folder."""
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(fresh_folder, [tmp_path / "runs"] * 64))
    assert len(set(folders)) == 64
    assert all(folder.is_dir() for folder in folders)


def test_a_file_in_the_way_is_an_environment_problem(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(EnvironmentProblemError, match="cannot write"):
        fresh_folder(tmp_path / "runs")
