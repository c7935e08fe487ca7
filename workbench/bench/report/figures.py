"""Plots as plotly figures without colours of their own for paper and text: the page gives them those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any, Final

import plotly.graph_objects as go
from plotly.colors import qualitative, sample_colorscale

from workbench.bench.report.bins import bins_of, is_few, numbers, ticks
from workbench.bench.tables import Plot, Series

COLOURS: Final = qualitative.D3
"""Blue, orange, green ...: readable on white and on black."""
HEIGHT: Final = 380


def figure(plot: Plot) -> Any:
    """Return a plotly figure; a histogram of few values shows each of them as a point."""
    if plot.kind == "histogram" and is_few(plot):
        plot = _as_points(plot)
    drawn = go.Figure()
    count = len(plot.series)
    if plot.kind == "heat":
        drawn.add_trace(_heat(plot.series))
    else:
        for number, series in enumerate(plot.series):
            drawn.add_trace(_trace(plot.kind, series, _colour(plot.kind, number, count)))
    drawn.update_layout(
        title={"text": escape(plot.title), "font": {"size": 15}},
        xaxis={"title": escape(plot.x_label), "automargin": True},
        yaxis={"title": escape(plot.y_label), "automargin": True, "rangemode": "tozero"},
        barmode={"stack": "stack", "histogram": "overlay"}.get(plot.kind, "group"),
        height=HEIGHT,
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=count > 1 and plot.kind != "heat",
    )
    _set_ticks(drawn, plot)
    if plot.kind in {"bar", "stack", "heat"}:
        drawn.update_xaxes(type="category")
    if plot.kind == "heat":
        drawn.update_yaxes(type="category", autorange="reversed")
    if plot.level is not None:
        drawn.add_hline(y=plot.level, line_dash="dash", line_color="#888888", line_width=1)
    return drawn


def _as_points(plot: Plot) -> Plot:
    """Return a histogram's values as points, a line of them for each series."""
    series = tuple(Series(each.name, each.x, (each.name,) * len(each.x)) for each in plot.series)
    return replace(plot, kind="points", y_label=f"one point for each of the {plot.y_label}", series=series)


def _set_ticks(drawn: Any, plot: Plot) -> None:
    """Set the ticks of numbers, and the bins of a histogram, whose width is said."""
    x = [value for series in plot.series for value in numbers(series.x)]
    if plot.kind in {"line", "scatter", "points"}:
        drawn.update_xaxes(**ticks(x))
    if plot.kind in {"line", "scatter", "bar", "stack"}:
        drawn.update_yaxes(**ticks([value for series in plot.series for value in numbers(series.y)]))
    bins = bins_of(plot) if plot.kind == "histogram" else None
    if bins is not None:
        drawn.update_traces(xbins={"start": bins.start, "size": bins.width}, autobinx=False)
        drawn.update_xaxes(title=f"{escape(plot.x_label)}, in bins of {bins.width:g}", **ticks(x))
        drawn.update_yaxes(**ticks([0, bins.most]))


def _colour(kind: str, number: int, count: int) -> str:
    """Return a series' colour; stacked buckets, which have an order, run along a scale."""
    if kind == "stack":
        return str(sample_colorscale("Viridis", [(number + 0.5) / count])[0])
    return str(COLOURS[number % len(COLOURS)])


def _heat(rows: Sequence[Series]) -> Any:
    """Return a map whose rows are the series; the numbers stand in its cells."""
    return go.Heatmap(
        x=[escape(str(x)) for x in rows[0].x],
        y=[escape(row.name) for row in rows],
        z=[row.y for row in rows],
        texttemplate="%{z:.2g}",
        colorscale="Viridis",
        zmin=0,
    )


def _trace(kind: str, series: Series, colour: str) -> Any:
    trace, look = _TRACES[kind]
    x = [escape(str(x)) for x in series.x] if trace is go.Bar else series.x
    look = look | ({"y": series.y} if trace is not go.Histogram else {})
    look = look | ({"text": [escape(label) for label in series.labels]} if kind == "scatter" else {})
    return trace(name=escape(series.name), x=x, marker={"color": colour}, **look)


_TRACES: Final[dict[str, tuple[Any, dict[str, Any]]]] = {
    "line": (go.Scatter, {"mode": "lines+markers"}),
    "scatter": (go.Scatter, {"mode": "markers", "opacity": 0.7}),
    "points": (go.Scatter, {"mode": "markers", "opacity": 0.7}),
    "bar": (go.Bar, {}),
    "stack": (go.Bar, {}),
    "histogram": (go.Histogram, {"opacity": 0.65}),
}
"""What draws each kind of plot, and how it looks."""
