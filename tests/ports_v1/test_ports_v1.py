"""Ports of the first version of the seam run unmodified: their files are not to be edited."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.lockstep.runs import SMALL, Setup, run
from tests.ports_v1 import full_port, partial_port

SHA256 = {
    "partial_port.py": "2dba2151edadf78cd1c409715d58d621cdddf379ccd5c9b2e042635d0121789f",
    "full_port.py": "ded3c820e683dac7f7ef9a44993433ace19aa9928ca665fa424eb0e96b84de47",
}


@pytest.mark.parametrize("name", SHA256)
def test_the_port_is_as_it_was(name: str) -> None:
    assert hashlib.sha256((Path(__file__).parent / name).read_bytes()).hexdigest() == SHA256[name]


@pytest.mark.parametrize("port", [partial_port, full_port], ids=["partial", "full"])
@pytest.mark.parametrize("rung", ["masked", "cached"])
def test_a_port_of_the_first_version_decodes(tmp_path: Path, port: object, rung: str) -> None:
    setup = Setup(rung=rung)
    plain = run(tmp_path / "ours", setup)
    made = port.factory(setup.pair, SMALL, device="cpu", dtype="auto")
    outcome = run(tmp_path / "port", setup, path=lambda _: made)
    assert outcome.verdict.verdict == "ok", outcome.verdict
    assert outcome.staged.finished[0].emitted == plain.staged.finished[0].emitted
