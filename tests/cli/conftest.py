"""Runs commands in this process, with what they print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from workbench.cli.run import run_command


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    exit_code: int
    out: str
    err: str


Specwb = Callable[..., Answer]


@pytest.fixture
def specwb(capsys: pytest.CaptureFixture[str]) -> Specwb:
    def run(*argv: object) -> Answer:
        capsys.readouterr()
        exit_code = run_command([str(each) for each in argv])
        said = capsys.readouterr()
        return Answer(exit_code, said.out, said.err)

    return run
