"""The way of a judged run's summary to its reader."""

from __future__ import annotations

from typing import Any

from workbench.cli.output import detail, show
from workbench.report.summary import RunSummary
from workbench.report.text import render_text
from workbench.view.context import context_of


def show_summary(summary: RunSummary, output_format: str, **more: Any) -> None:
    """Print the report of a run, with the cells around its first divergence; JSON with `more` beside it."""

    def lines() -> list[str]:
        first = summary.first_divergence
        context = context_of(summary.run, first) if first is not None and summary.run is not None else []
        return [render_text(summary, detail(), context)]

    show(output_format, lambda: summary.as_json() | more, lines)
