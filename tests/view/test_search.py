"""Finding a token, a position, a slot, a rule in a run; runs in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.view.traces import finding, write_run
from tracing.errors import UsageError
from tracing.manifest import read_manifest, write_manifest
from tracing.recorder import RunWriter
from workbench.view.lines import plain_text
from workbench.view.run_list import list_runs, run_line
from workbench.view.run_view import RunView
from workbench.view.search import Place, find, parse_query
from workbench.view.targets import FindingTarget, NodeTarget, PositionTarget, SlotTarget


def test_token_text_is_found_forwards_and_backwards(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "run", 8))
    token_id = int(view.step(5).left.row["token_ids"][4])
    query = parse_query(f"w{token_id}", view)
    ahead = find(view, query, Place(4), 1)
    assert ahead is not None
    assert token_id in query.wanted
    row, node = ahead.row, ahead.target.node
    assert int(view.step(row).left.row["token_ids"][node]) in query.wanted
    back = find(view, query, Place(row, node + 1), -1)
    assert back == ahead
    assert find(view, query, Place(row, node), 1) != ahead


def test_pads_are_no_hits(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "run", 2))
    assert find(view, parse_query("node 11", view), Place(-1), 1) is None
    assert find(view, parse_query("node 9", view), Place(-1), 1) is not None


def test_positions_slots_and_rules_are_found(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "run", 6, findings=(finding(2), finding(4))))
    for text, target in (
        ("pos 33", PositionTarget(33)),
        ("slot 1033", SlotTarget(1033)),
        ("node 3", NodeTarget(3)),
    ):
        hit = find(view, parse_query(text, view), Place(-1), 1)
        assert hit is not None
        assert hit.target == target
    hit = find(view, parse_query("mask001", view), Place(2), 1)
    assert hit is not None
    assert (hit.row, hit.target) == (4, FindingTarget(finding(4).moment, 1))


@pytest.mark.parametrize("text", ["", "no such text", "MASK999"])
def test_a_search_that_cannot_match_says_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        parse_query(text, RunView(write_run(tmp_path / "run")))


def test_runs_are_listed_from_their_manifests(tmp_path: Path) -> None:
    write_run(tmp_path / "good", 2, findings=(finding(0),))
    (write_run(tmp_path / "bad") / "manifest.json").write_text(
        json.dumps({"format": "1.0"}), encoding="utf-8"
    )
    entries = {entry.folder.name: entry for entry in list_runs([tmp_path])}
    assert (entries["good"].num_steps, entries["good"].num_findings) == (2, 1)
    assert set(entries) == {"good", "bad"}
    assert "1 finding " in plain_text([run_line(entries["good"])])


def test_a_run_whose_writer_was_killed_is_not_listed_as_running(tmp_path: Path) -> None:
    cut = write_run(tmp_path / "cut", 1)
    manifest = read_manifest(cut)
    write_manifest(cut, manifest | {"status": "running"})
    with RunWriter(tmp_path / "live"):
        statuses = {entry.folder.name: entry.status for entry in list_runs([tmp_path])}
    assert statuses["cut"] == "cut off"
    assert statuses["live"] == "running"
