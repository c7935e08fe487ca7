"""The chain panel: from a step back to who wrote the wrong row that it reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.judge.test_cache_history import PREFIX, turn_rows
from tests.view.steps import PLAIN, step_view
from tests.view.traces import finding
from tracing.moment import Moment
from workbench.judge.cache_history import cache_history
from workbench.view.chain import PANEL, chain_lines
from workbench.view.chain_file import MAX_LINKS, NAME, Link, read_chain, write_chain
from workbench.view.lines import plain_text
from workbench.view.step import ViewOptions
from workbench.view.targets import MomentTarget


def _moved(step: int, path: list[int]) -> list[int]:
    return [0, 1, 2, 4] if step == 2 else path


def test_the_writer_of_a_wrong_row_is_a_place_to_go_to() -> None:
    history = cache_history(turn_rows(commit=_moved))
    step = replace(
        step_view(findings=(finding(3),)), moment=Moment(0, 0, 3), history=lambda: history, located=()
    )
    lines = chain_lines(step, PLAIN)
    text = " ".join(plain_text(lines).split())
    assert f"0:0:2:commit commit of step 2: position {PREFIX + 6} holds the row of node 2 of step 2" in text
    targets = [span.target.moment for line in lines for span in line if isinstance(span.target, MomentTarget)]
    assert [str(each) for each in targets] == ["0:0:2:commit", "0:0:2:verify:2", "0:0:2:verify:3"]
    assert max(len(line) for line in plain_text(chain_lines(step, ViewOptions(width=44))).splitlines()) <= 44
    earlier = replace(step, moment=Moment(0, 0, 1))
    assert "position" not in plain_text(chain_lines(earlier, PLAIN))
    itself = replace(step, moment=Moment(0, 0, 2))
    assert "its own commit leaves 1 wrong row" in plain_text(chain_lines(itself, PLAIN))


def test_a_clean_step_says_what_digests_cannot_tell() -> None:
    history = cache_history(turn_rows())
    text = plain_text(chain_lines(replace(step_view(), history=lambda: history), PLAIN))
    assert "whether it was" in text
    assert not PANEL.shown_for(step_view())


def test_what_locate_found_is_drawn_first_and_made_safe(tmp_path: Path) -> None:
    links = [
        Link(Moment(0, 0, 9), "the token is wrong"),
        Link(Moment(0, 0, 2, "verify", 3), "\x1b[2J wrote it"),
    ]
    write_chain(tmp_path, links)
    assert read_chain(tmp_path) == tuple(links)
    step = replace(step_view(), located=read_chain(tmp_path))
    first, second, *_ = plain_text(chain_lines(step, PLAIN)).splitlines()[1:]
    assert "0:0:9  the token is wrong" in first
    assert second.startswith("!  ← 0:0:2:verify:3")
    assert "\x1b" not in second
    assert PANEL.shown_for(step)


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '[{"moment": "x", "text": ""}]', "[" * 100_000, '[{"text": 1}]']
)
def test_a_damaged_file_is_no_way(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    assert read_chain(tmp_path) == ()


def test_only_so_many_links_are_read(tmp_path: Path) -> None:
    write_chain(tmp_path, [Link(Moment(0), "x")] * (MAX_LINKS + 5))
    assert len(read_chain(tmp_path)) == MAX_LINKS
