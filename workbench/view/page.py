"""A whole moment as lines: every panel under its title, for text, SVG and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from workbench.view.condition import DAMAGED
from workbench.view.lines import Line, Span, note
from workbench.view.panels import PANELS
from workbench.view.run_distance import RunDistance
from workbench.view.run_view import RunView
from workbench.view.safe_text import safe_text
from workbench.view.step import StepView, ViewOptions


def page_lines(
    view: RunView,
    step: StepView | None,
    options: ViewOptions,
    names: Iterable[str] = (),
    run_distances: RunDistance | None = None,
) -> Iterator[Line]:
    """Yield the lines of a moment.

    Args:
        view: The run.
        step: The step, None for a run without one.
        options: How to draw.
        names: Panels to draw, all when empty.
        run_distances: What was counted over the run, for the distance panel; None to leave it out.
    """
    wanted = set(names)
    moment = "" if step is None else f" {step.moment}  {' | '.join(side.label for side in step.sides)}"
    yield (Span(safe_text(view.folder.resolve().name), "title"), Span(moment, "accent"))
    mark = DAMAGED if view.proof() == DAMAGED else "note"
    for problem in view.problems():
        yield note(f"{mark}: {problem}", "warn")
    if step is None:
        yield note("no step was recorded", "warn")
        return
    for panel in PANELS:
        if panel.name not in wanted if wanted else not panel.shown_for(step):
            continue
        yield note("")
        yield (
            Span(f"── {panel.name} ", "title"),
            Span("─" * max(0, options.width - len(panel.name) - 4), "dim"),
        )
        lines = panel.draw(step, options)
        if run_distances and panel.name == "distance":
            lines = run_distances.around(lines, view.row_of(step.moment), options.width)
        yield from lines
