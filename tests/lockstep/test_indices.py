"""The index watch beside a run: sites of the path's own code, and the rules over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.lockstep.runs import Outcome, run
from tests.lockstep.runs import Setup as RunSetup
from tracing.reader import open_run
from tracing.stages import Stages, Tensorized, Verified
from workbench.lockstep.recording.indices import IndexProbe

WATCHED = RunSetup(options={"watch_indices": True})


def rows(outcome: Outcome, path: str = "fused") -> list[dict[str, Any]]:
    return list(open_run(outcome.folder).path(path))


def reading(index: list[int]) -> Callable[[Stages], Stages]:
    """A verify that also reads rows of its logits by `index`, as a retrieval table does."""

    def place(stages: Stages) -> Stages:
        def verify(state: object, tree: Tensorized) -> Verified:
            verified = stages.verify(state, tree)
            picked = verified.logits[torch.tensor(index)]
            assert picked.shape[0] == len(index)
            return verified

        return replace(stages, verify=verify)

    return place


def test_every_step_of_the_watched_path_has_its_sites_and_nothing_of_ours(tmp_path: Path) -> None:
    """The probe of draft attention runs inside the path's stage, and the reference gathers too."""
    outcome = run(tmp_path / "run", WATCHED)
    assert outcome.verdict.verdict == "ok"
    for row in rows(outcome):
        places = [site["site"] for site in row["index_sites"]]
        assert "workbench/fused/commit.py" in " ".join(places)
        assert all(place.startswith(("workbench/fused/", "transformers/")) for place in places), places
        assert all(0 <= site["min"] <= site["max"] < site["bound"] for site in row["index_sites"])
    assert all(row["index_sites"] is None for row in rows(outcome, "reference"))


def test_sites_are_those_of_the_step(tmp_path: Path) -> None:
    """Bug: sites of earlier steps stay in the list, and a wrong index is reported again and again."""
    first, second, *_ = rows(run(tmp_path / "run", WATCHED))
    embedding = [
        next(site for site in row["index_sites"] if "teacher.py" in site["site"]) for row in (first, second)
    ]
    assert embedding[1]["max"] == int(second["token_ids"].max())


def test_without_the_option_nothing_is_recorded_and_the_rules_say_so(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", fused=reading([0, -1]))
    assert outcome.verdict.verdict == "ok"
    assert all(row["index_sites"] is None for row in rows(outcome))


@pytest.mark.parametrize("index", [[0, -1], [-12, 3]])
def test_a_dereferenced_sentinel_is_found(tmp_path: Path, index: list[int]) -> None:
    """Plain torch wraps such an index around, so that no result on this machine shows it."""
    outcome = run(tmp_path / "run", WATCHED, fused=reading(index))
    assert outcome.first.rule == "IDX002"
    assert "test_indices.py" in outcome.first.message
    assert outcome.verdict.exit_code == 1


def test_legal_reads_are_no_finding(tmp_path: Path) -> None:
    assert run(tmp_path / "run", WATCHED, fused=reading([0, 11, 11])).verdict.verdict == "ok"


def test_uses_of_one_place_under_different_bounds_stay_apart() -> None:
    """Bug: index 38 of 40 and 3 of 16 joined to 38 of 16, which never happened."""
    probe = IndexProbe(on=True)
    for minimum, maximum, bound in ((2, 38, 40), (0, 3, 16), (1, 9, 40)):
        probe.index_site("port.py:7 gather", minimum, maximum, bound)
    assert probe.take() == {
        "index_sites": [
            {"site": "port.py:7 gather", "min": 0, "max": 3, "bound": 16},
            {"site": "port.py:7 gather", "min": 1, "max": 38, "bound": 40},
        ]
    }
    assert probe.take() == {"index_sites": []}


def test_a_pause_ends_also_when_we_fail() -> None:
    probe = IndexProbe(on=True)

    def fail_while_paused() -> None:
        with probe.paused():
            probe.index_site("ours.py:1 gather", 0, 1, 2)
            raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        fail_while_paused()
    probe.index_site("port.py:1 gather", 0, 1, 2)
    assert [site["site"] for site in probe.take()["index_sites"]] == ["port.py:1 gather"]
