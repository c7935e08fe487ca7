"""The same page as SVG and HTML: whole, and harmless whatever the tokens hold."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.view.traces import leaked, write_run
from workbench.cli.run import run_command


def test_svg_and_html_hold_the_wrong_cell(tmp_path: Path) -> None:
    changes, (query, key) = leaked()
    folder = write_run(tmp_path / "run", changes=changes)
    svg, html = tmp_path / "moment.svg", tmp_path / "moment.html"
    assert run_command(["view", str(folder), "0:0:1", "--svg", str(svg), "--html", str(html)]) == 0
    assert "src:" not in svg.read_text(encoding="utf-8"), "the picture fetches a font"
    picture = "".join(ET.parse(svg).getroot().itertext()).replace("\u00a0", " ")
    sentence = f"node {query} sees node {key}, no ancestor of it"
    assert sentence in picture
    assert sentence in html.read_text(encoding="utf-8")
    for shown in ("steps", "tree", "acceptance", "findings"):
        assert shown in picture, "the four panels of a screen"
    assert str(tmp_path) not in picture + html.read_text(encoding="utf-8")


def test_a_panel_is_printed_alone(tmp_path: Path) -> None:
    folder, svg = write_run(tmp_path / "run"), tmp_path / "moment.svg"
    assert run_command(["view", str(folder), "0:0:1", "--svg", str(svg), "--panel", "tree"]) == 0
    picture = "".join(ET.parse(svg).getroot().itertext())
    assert "tree" in picture
    assert "acceptance" not in picture
    assert str(tmp_path) not in picture


def test_a_token_that_is_markup_stays_text(tmp_path: Path) -> None:
    """Catches token text that becomes an element of the page or markup of the terminal library."""
    stop = "</text><script>alert(1)</script>[bold]"
    folder = write_run(tmp_path / "run", 1, changes={0: {"stop_reason": stop}})
    svg, html = tmp_path / "moment.svg", tmp_path / "moment.html"
    run_command(["view", str(folder), "--panel", "acceptance", "--svg", str(svg), "--html", str(html)])
    assert not [each for each in ET.parse(svg).getroot().iter() if each.tag.endswith("script")]
    page = html.read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "[bold]" in page


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", 1)
    assert run_command(["view", str(folder), "--svg", str(tmp_path / "no" / "such.svg")]) == 3
    assert "cannot be written" in capsys.readouterr().err
