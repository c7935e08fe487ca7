from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints import synthetic


@pytest.fixture(scope="session")
def llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("llama")
    synthetic.hf_teacher(directory)
    return directory


@pytest.fixture
def teacher_dir(tmp_path: Path, llama_dir: Path) -> Path:
    """A private copy of the teacher, for tests that break it."""
    import shutil

    return Path(shutil.copytree(llama_dir, tmp_path / "teacher"))


@pytest.fixture
def draft_dir(tmp_path: Path) -> Path:
    return synthetic.official(tmp_path / "draft")
