"""Lines of several spans over as many lines as they take."""

from __future__ import annotations

import pytest

from tracing.moment import Moment
from workbench.view.lines import Span, line_text, wrapped
from workbench.view.targets import MomentTarget

HERE = MomentTarget(Moment(0, 0, 2))
LINE = (
    Span("! ", "bad"),
    Span("0:0:2", "accent", HERE),
    Span("  row 11 should hold bits of node 0", "bad"),
)


@pytest.mark.parametrize("width", [20, 24, 31, 78])
def test_every_word_is_kept_with_its_role_and_no_line_is_too_wide(width: int) -> None:
    lines = wrapped(LINE, width, 4)
    assert all(len("".join(span.text for span in each)) <= width for each in lines)
    assert " ".join(" ".join(map(line_text, lines)).split()) == "! 0:0:2 row 11 should hold bits of node 0"
    assert {span.role for line in lines for span in line if "node" in span.text} == {"bad"}
    assert [span.target for line in lines for span in line if span.target] == [HERE]
    assert all(line_text(each).startswith(" " * 4) for each in lines[1:])
    assert (len(lines) == 1) == (width == 78)


def test_a_word_without_a_place_to_break_stays_whole() -> None:
    lines = wrapped((Span("a " + "b" * 50 + " c"),), 20, 2)
    assert [line_text(each) for each in lines] == ["a", "  " + "b" * 50, "  c"]


def test_a_line_that_fits_is_as_it_was() -> None:
    assert "".join(span.text for span in wrapped(LINE, 78, 4)[0]) == "".join(span.text for span in LINE)
    assert wrapped((), 78, 4) == [()]
