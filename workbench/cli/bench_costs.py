"""`specwb bench --costs`: joins the providers of costs, runs them one by one, prints the table."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence

import click

from workbench.bench.costs.catalogue import COSTS, chosen, measured
from workbench.bench.costs.row import Cost, Row
from workbench.bench.costs.table import as_json, as_lines, exit_code
from workbench.bench.costs.workshop import Workshop

SCREEN_COSTS = "workbench.tui.costs"
"""Module with `COSTS`, what the screen costs; it imports textual only when it measures."""


def measure_costs(only: Sequence[str], output_format: str) -> int:
    """Measure and print.

    Raises:
        UsageError: `only` names what is not there.
    """
    wanted = chosen(all_costs(), only)
    rows: list[Row] = []
    with Workshop(_progress) as workshop:
        for cost, names in wanted:
            rows.extend(measured(cost, names, workshop))
    if output_format == "json":
        click.echo(json.dumps(as_json(rows), indent=1, allow_nan=False))
    else:
        click.echo("\n".join(as_lines(rows)))
    return exit_code(rows)


def all_costs() -> tuple[Cost, ...]:
    """Return every provider, the screen's included where it is there."""
    if importlib.util.find_spec(SCREEN_COSTS) is None:
        return COSTS
    screen: tuple[Cost, ...] = importlib.import_module(SCREEN_COSTS).COSTS
    return (*COSTS, *screen)


def _progress(sentence: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"{sentence} ...", err=True)
