"""`specwb bench --costs`: joins the providers of costs, runs them one by one, prints the table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from workbench.bench.costs.catalogue import COSTS, chosen, measured
from workbench.bench.costs.row import Row
from workbench.bench.costs.table import as_json, as_lines, exit_code
from workbench.bench.costs.workshop import Workshop
from workbench.cli.bench_screen import SCREEN


def measure_costs(only: Sequence[str], output_format: str) -> int:
    """Measure and print.

    Raises:
        UsageError: `only` names what is not there.
    """
    wanted = chosen((*COSTS, SCREEN), only)
    rows: list[Row] = []
    with Workshop(_progress) as workshop:
        for cost, names in wanted:
            rows.extend(measured(cost, names, workshop))
    if output_format == "json":
        click.echo(json.dumps(as_json(rows), indent=1, allow_nan=False))
    else:
        click.echo("\n".join(as_lines(rows)))
    return exit_code(rows)


def _progress(sentence: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"{sentence} ...", err=True)
