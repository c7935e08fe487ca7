"""What was doubtful at the load stands in the manifest and goes with every verdict about the run."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.judge.recorded.load_warnings import load_warnings

GOOD = {"id": "drafter.d2t", "status": "ok", "sentence": "fine"}
DOUBT = {"id": "drafter.aux_layers", "status": "warning", "sentence": "a guess"}


def manifest(checks: object) -> dict[str, Any]:
    return {"models": {"load_report": {"checks": checks}}}


def test_warnings_are_named() -> None:
    assert load_warnings(manifest([GOOD, DOUBT])) == ("a guess [drafter.aux_layers]",)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"models": None},
        {"models": {"load_report": [1]}},
        manifest(None),
        manifest([5, None, {"status": []}]),
    ],
)
def test_manifests_without_or_forged_are_silent(odd: dict[str, Any]) -> None:
    assert load_warnings(odd) == ()


def test_warnings_of_the_run_follow() -> None:
    told = {**manifest([DOUBT]), "warnings": ["of the run", 3]}
    assert load_warnings(told) == ("a guess [drafter.aux_layers]", "of the run")
    assert load_warnings({"warnings": "x"}) == ()


def test_their_number_is_bounded() -> None:
    assert len(load_warnings(manifest([DOUBT] * 10_000))) == 40
