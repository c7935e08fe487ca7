"""The strip shows every step of a run, however many, and the worst of those that share a cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.view.traces import finding, write_run
from workbench.view.chart import as_values
from workbench.view.lines import line_text
from workbench.view.run_strip import LABEL, Strip, StripCount, strip_lines
from workbench.view.run_view import RunView


def _strip(count: int, found: tuple[int, ...] = (), **verdicts: int) -> Strip:
    signs = np.zeros(count)
    for row, verdict in verdicts.items():
        signs[int(row[1:])] = verdict
    return Strip(as_values(np.arange(count) % 5), signs, np.full(count, 1e6), found)


@pytest.mark.parametrize("count", [0, 1, 7, 64, 1000])
def test_every_step_has_a_cell_and_the_line_fits(count: int) -> None:
    cells = _strip(count).cells(64)
    assert sorted({row for start, stop in cells for row in range(start, stop)}) == list(range(count))
    assert all(stop > start for start, stop in cells)
    assert max(len(line_text(line)) for line in strip_lines(_strip(count), 4, 64 + LABEL, 3)) <= 64 + LABEL


def test_one_wrong_step_of_thousands_is_seen() -> None:
    for height in (1, 3):
        lines = [line_text(line)[LABEL:] for line in strip_lines(_strip(5000, r4321=5), 4, 80, height)]
        assert "S" in lines[0 if height == 1 else 1]
        assert "S" not in "".join(
            line_text(line)[LABEL:] for line in strip_lines(_strip(5000), 4, 80, height)
        )


def test_a_finding_without_a_verdict_is_a_mark_and_the_worst_verdict_wins() -> None:
    assert "!" in line_text(strip_lines(_strip(9, (3,)), 4, 80, 1)[0])
    row = line_text(strip_lines(_strip(640, r1=1, r2=4), 4, 64 + LABEL, 3)[1])
    assert "n" in row[LABEL:]
    assert "~" not in row[LABEL:]


def test_a_run_is_read_for_it_step_by_step(tmp_path: Path) -> None:
    found = (finding(3, "parents", node=2),)
    count = StripCount(RunView(write_run(tmp_path / "run", 6, findings=found)))
    while not count.count_more():
        pass
    strip = count.strip()
    assert (len(strip.accepted), strip.found) == (6, (3,))
    assert not np.isnan(strip.accepted).any()
