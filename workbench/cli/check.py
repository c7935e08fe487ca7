"""`specwb check RUN...`: all invariants over all recorded steps; needs no torch and no models."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

import click

from invariants.selection import Selection
from tracing.errors import TraceError
from workbench.cli.decode_options import choice_option
from workbench.cli.select_options import chosen_rules, select_options
from workbench.judge.recorded.check import MAX_PER_RULE, check_run
from workbench.judge.recorded.checked import CheckedRun, worst

FORMATS: Final = {
    "text": "workbench.report.check_text",
    "json": "workbench.report.json",
    "junit": "workbench.report.junit",
    "sarif": "workbench.report.sarif",
    "github": "workbench.report.github",
}
"""Format to the module whose `render_checks(runs)` writes it."""


@click.command(name="check")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@choice_option("--format", "output_format", values=list(FORMATS))
@select_options
@click.option(
    "--max-per-rule",
    type=click.IntRange(min=0),
    default=MAX_PER_RULE,
    show_default=True,
    metavar="N",
    help="Findings listed per rule and path; 0 lists all. All are counted.",
)
def command(runs: tuple[str, ...], **options: Any) -> int:
    """Check every invariant at every recorded step.

    Exit codes: 0 all held, 1 findings, 2 usage or a trace that is not whole as written, 4 inconclusive
    (nothing applied, or the run was never closed).
    """
    selection = chosen_rules(options["select"], options["ignore"], options["config"])
    limit = options["max_per_rule"] or None
    checked = [_check(run, selection, limit, alone=len(runs) == 1) for run in runs]
    render = importlib.import_module(FORMATS[options["output_format"]]).render_checks
    click.echo(render(checked).rstrip("\n"))
    return worst(run.exit_code for run in checked)


def _check(run: str, selection: Selection, limit: int | None, *, alone: bool) -> CheckedRun:
    """Check one run; among several, a folder that is no run does not stop the others."""
    try:
        return check_run(run, selection, max_per_rule=limit)
    except TraceError as problem:
        if alone:
            raise
        return CheckedRun(
            folder=Path(run), state="unreadable", status="", is_damaged=True, problems=(str(problem),)
        )
