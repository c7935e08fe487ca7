"""The way of a judged run's summary to its reader."""

from __future__ import annotations

from workbench.cli.output import detail, say
from workbench.report.summary import RunSummary
from workbench.report.text import render_text
from workbench.view.context import context_of


def say_summary(summary: RunSummary) -> None:
    """Print the report of a run, with the cells around its first divergence."""
    first = summary.first_divergence
    context = context_of(summary.run, first) if first is not None and summary.run is not None else []
    say(render_text(summary, detail(), context))
