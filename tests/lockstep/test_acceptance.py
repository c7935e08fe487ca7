"""Acceptance of a recorded run against what its drafter expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workbench.lockstep import acceptance
from workbench.lockstep.acceptance import acceptance_warnings

CLEAN = Path(__file__).parents[2] / "traces" / "clean"


def test_a_clean_run_of_a_trained_drafter_is_silent() -> None:
    assert acceptance_warnings(CLEAN) == ()


def test_the_same_drafts_never_accepted_are_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a vocabulary map of another model: sure of itself, and never right."""
    rows = [
        row | {"accepted_nodes": row["accepted_nodes"][:0]}
        for row in acceptance.open_run(CLEAN).path("fused")
    ]
    many: list[dict[str, Any]] = [
        row | {"token_ids": row["token_ids"] + 5000 * copy} for copy in range(20) for row in rows
    ]

    class Recorded:
        def __init__(self, _: Path) -> None: ...

        def path(self, _: str) -> list[dict[str, Any]]:
            return many

    monkeypatch.setattr(acceptance, "open_run", Recorded)
    (sentence,) = acceptance_warnings(CLEAN)
    assert ", 0 were seen" in sentence
