"""Files of a checkpoint are regular files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracing.errors import SpecwbError
from workbench.checkpoints.files import read_json


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(SpecwbError, match="is no regular file"):
        read_json(tmp_path / "config.json")
