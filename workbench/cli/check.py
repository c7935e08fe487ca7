"""`specwb check RUN...`: all invariants over all recorded steps; needs no torch and no models."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from invariants.selection import Selection, read_selection
from tracing.errors import CheckpointError, TraceError, UsageError
from tracing.finding import Finding
from workbench.checkpoints.json_text import MAX_BYTES, parse_object
from workbench.cli.common_options import choice_option, comma_separated, number_option
from workbench.cli.complete import complete_rules, complete_runs
from workbench.cli.output import detail, say
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
_WORDS: Final = "Rule ids, names or families, comma-separated, e.g. MASK,TREE001."


@click.command(name="check")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_runs)
@choice_option("--format", "output_format", values=list(FORMATS))
@click.option(
    "--select",
    multiple=True,
    metavar="RULES",
    shell_complete=complete_rules,
    help=f"Only these rules. {_WORDS}",
)
@click.option(
    "--ignore", multiple=True, metavar="RULES", shell_complete=complete_rules, help="Not these rules."
)
@click.option(
    "--config",
    metavar="FILE",
    help="pyproject.toml whose [tool.specwb] holds; default the nearest one upwards.",
)
@click.option(
    "--facts",
    metavar="FILE",
    help="JSON with what is lawful and not in the recording: tables model_facts, limits, requests.",
)
@number_option(
    "--max-per-rule",
    MAX_PER_RULE,
    "Findings listed per rule and path; 0 lists all. All are counted.",
    least=0,
    metavar="N",
)
@click.option("--statistics", is_flag=True, help="Count findings by rule instead of listing them (text).")
def command(runs: tuple[str, ...], **options: Any) -> int:
    """Check every invariant at every recorded step.

    Exit codes: 0 all held, 1 findings, 2 usage or a trace that is not whole as written, 4 inconclusive
    (nothing applied, or the run was never closed).
    """
    selection = chosen_rules(options["select"], options["ignore"], options["config"])
    limit = options["max_per_rule"] or None
    stated = _facts(options["facts"])
    checked = [_check(run, selection, limit, stated, alone=len(runs) == 1) for run in runs]
    render = importlib.import_module(FORMATS[options["output_format"]]).render_checks
    if options["output_format"] == "text":
        say(render(checked, detail(), _context, statistics=options["statistics"]))
    else:
        click.echo(render(checked).rstrip("\n"))
    return worst(run.exit_code for run in checked)


def _context(run: CheckedRun, finding: Finding) -> Sequence[str]:
    """Return the cells around a finding, read again from its run."""
    from workbench.view.context import context_of

    return context_of(run.folder, finding)


def _facts(file: str | None) -> dict[str, Any]:
    """Return the facts of a file, empty without one.

    Raises:
        UsageError: The file cannot be read, or is no JSON object.
    """
    if file is None:
        return {}
    try:
        with Path(file).open("rb") as opened:
            return parse_object(opened.read(MAX_BYTES + 1), file)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from None
    except CheckpointError as error:
        raise UsageError(str(error)) from None


def _check(
    run: str, selection: Selection, limit: int | None, stated: Mapping[str, Any], *, alone: bool
) -> CheckedRun:
    """Check one run; among several, a folder that is no run does not stop the others."""
    try:
        return check_run(run, selection, max_per_rule=limit, stated=stated)
    except TraceError as problem:
        if alone:
            raise
        return CheckedRun(
            folder=Path(run), state="unreadable", status="", is_damaged=True, problems=(str(problem),)
        )


def chosen_rules(select: Sequence[str], ignore: Sequence[str], config: str | None) -> Selection:
    """Return what to check: `--select` replaces the file's, `--ignore` adds to it.

    Raises:
        UsageError: A word that names no rule, or a file that cannot be read.
    """
    selection = _from_file(config)
    if select:
        words = tuple(comma_separated(select))
        if not words:
            raise UsageError("--select names no rule; leave it out for all, `specwb explain` lists them")
        selection = replace(selection, select=words)
    selection = replace(selection, ignore=(*selection.ignore, *comma_separated(ignore)))
    if not selection.rules():
        raise UsageError("--select and --ignore leave no rule; `specwb explain` lists them all")
    return selection


def _from_file(config: str | None) -> Selection:
    path = Path(config) if config else _nearest(Path.cwd())
    if path is None:
        return Selection()
    import tomllib

    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from None
    return read_selection(table)


def _nearest(folder: Path) -> Path | None:
    found = (each / "pyproject.toml" for each in (folder, *folder.parents))
    return next((path for path in found if path.is_file()), None)
