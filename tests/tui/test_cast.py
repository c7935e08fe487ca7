"""The recording in the documentation is one, and it is made of a real terminal."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pages import cast

FILE = Path(__file__).resolve().parents[2] / "docs" / "screens" / "first-fault.cast"


def test_the_recording_can_be_played_and_leads_to_the_wrong_cell() -> None:
    head, *lines = FILE.read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    said = "".join(text for _, _, text in events)
    assert json.loads(head)["version"] == 2
    assert all(kind == "o" for _, kind, _ in events)
    times = [at for at, _, _ in events]
    assert times == sorted(times)
    assert 10 < times[-1] < 60
    assert FILE.stat().st_size < 300_000
    assert "its path to the root is 2, 0" in said
    assert "leaked" in said
    assert str(Path.home()) + "/" not in said


@pytest.mark.skipif(shutil.which("bash") is None, reason="the recording types into bash")
def test_a_session_is_stamped_as_a_person_would_have_typed_it(tmp_path: Path) -> None:
    strokes = [cast.Stroke("echo $COLUMNS-$((40+2))\n", 5.0, "-42"), cast.Stroke("exit\n", 1.0, "exit")]
    events = cast.record(strokes, tmp_path, os.environ["PATH"])
    assert [at for at, _ in events] == [0.5, 1.0, 6.0, 7.0]
    assert "-42" in events[1][1]
    cast.write_cast(events, tmp_path / "a.cast", "title")
    assert json.loads((tmp_path / "a.cast").read_text().splitlines()[0])["height"] == cast.LINES
