"""A whole moment as lines: every panel under its title, for text, SVG and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from workbench.view.lines import Line, Span, note
from workbench.view.panels import PANELS
from workbench.view.run_view import RunView
from workbench.view.safe_text import safe_text
from workbench.view.step import StepView, ViewOptions


def page_lines(
    view: RunView, step: StepView, options: ViewOptions, names: Iterable[str] = (), extra: Iterable[Line] = ()
) -> Iterator[Line]:
    """Yield the lines of a moment.

    Args:
        view: The run.
        step: The step.
        options: How to draw.
        names: Panels to draw, all when empty.
        extra: Lines to add at the end, e.g. distances over the run.
    """
    wanted = set(names)
    yield (Span(f"{safe_text(str(view.folder))} {step.moment}", "title"), Span(f"  {_sides(step)}", "dim"))
    for problem in view.problems():
        yield note(f"note: {problem}", "warn")
    for panel in PANELS:
        if wanted and panel.name not in wanted:
            continue
        yield note("")
        yield (
            Span(f"── {panel.name} ", "title"),
            Span("─" * max(0, options.width - len(panel.name) - 4), "dim"),
        )
        yield from panel.draw(step, options)
    yield from extra


def _sides(step: StepView) -> str:
    return " | ".join(side.label for side in step.sides)
