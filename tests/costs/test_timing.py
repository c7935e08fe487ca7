"""The peak memory of a command is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from costs.timing import peak_mb

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell (no procfs)")
def test_it_is_not_that_of_whoever_started_it() -> None:
    """`getrusage` of a fresh process begins with its parent's peak: any two commands then cost the same."""
    held = bytearray(400_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert 20 < peak_mb("check", str(ROOT / "traces" / "clean")) < 300
