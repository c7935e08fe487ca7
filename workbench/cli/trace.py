"""`specwb trace`: inspect, verify, repair, merge, slice, export recorded runs; originals never change."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracing.errors import UsageError
from tracing.integrity import RunHealth, verify_run
from tracing.moment import Moment
from tracing.reader import Run, open_run
from workbench.cli.common_options import Function
from workbench.cli.complete import complete_runs
from workbench.cli.decode_options import format_option
from workbench.cli.output import say, show
from workbench.judge.recorded.checked import worst
from workbench.judge.recorded.state import state_of
from workbench.report.trace_text import (
    health_as_json,
    health_lines,
    info_as_json,
    info_lines,
    loss_as_json,
    loss_lines,
)
from workbench.view.counted import counted
from workbench.view.safe_text import safe_json

if TYPE_CHECKING:
    from tracing.export import Kind


@click.group(name="trace")
def command() -> None:
    """Inspect and verify recorded runs, and make new runs from them."""


def _new_run(name: str) -> Callable[[Function], Function]:
    """Give a command the run and a new folder, by argument or `--out`; default the run's name and `-NAME`."""

    def decorate(function: Function) -> Function:
        @click.argument("run", shell_complete=complete_runs)
        @click.argument("folder", required=False, metavar="[FOLDER]")
        @click.option("--out", metavar="FOLDER", help=f"Default RUN-{name}.")
        @functools.wraps(function)
        def run_command(run: str, folder: str | None, out: str | None, **options: Any) -> int:
            if folder and out:
                raise UsageError(f"give the new folder once, got {folder!r} and --out {out!r}")
            path = Path(run)
            new = folder or out or path.with_name(f"{path.name or path.resolve().name}-{name}")
            exit_code: int = function(run, Path(new), **options)
            return exit_code

        return run_command

    return decorate


@command.command()
@click.argument("run", shell_complete=complete_runs)
@format_option
def info(run: str, output_format: str) -> int:
    """Print what a run is: format, engine, models, settings, paths, columns, findings.

    Exit codes: 0 as it was written as far as it was read, 2 damaged or no run.
    """
    opened = open_run(run)
    facts = info_as_json(opened)
    show(output_format, lambda: facts, lambda: info_lines(opened), indent=1)
    return 2 if facts["problems"] else 0


@command.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_runs)
@format_option
def verify(runs: tuple[str, ...], output_format: str) -> int:
    """Prove every byte: complete, truncated, torn or corrupt, what can still be read, and what was lost.

    Exit codes: 0 complete, 2 damaged or no run, 4 never closed, what is there is as it was written.
    """
    found = [(verify_run(run), open_run(run)) for run in runs]
    lines = [line for health, opened in found for line in (*health_lines(health), *loss_lines(opened))]
    facts = [health_as_json(health) | loss_as_json(opened) for health, opened in found]
    show(output_format, lambda: facts, lambda: lines, indent=1)
    return worst(_exit_code(health, opened) for health, opened in found)


def _exit_code(health: RunHealth, opened: Run) -> int:
    """Return that of `specwb check` for a run whose rules all hold."""
    if state_of(opened).is_damaged:
        return 2
    return 0 if health.is_whole else 4


@command.command()
@_new_run("repaired")
@format_option
def repair(run: str, target: Path, output_format: str) -> int:
    """Write everything that is still readable as a closed run."""
    from tracing.copying import repair_run

    health = repair_run(run, target)
    repaired, steps = open_run(target), health.num_steps
    kept = ", ".join(f"{name} {counted(count, 'step')}" for name, count in steps.items()) or "no path"
    if output_format == "json":
        facts = {"run": str(target), "steps": dict(steps), "from": health_as_json(health)}
        click.echo(safe_json(facts | loss_as_json(repaired), indent=1))
        return 0
    for line in (*health_lines(health), *loss_lines(repaired)):
        say(line, err=True)
    say(f"{target}: {kept}")
    return 0


@command.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_runs)
@click.option("--out", required=True, metavar="FOLDER", help="The new run.")
@format_option
def merge(runs: tuple[str, ...], out: str, output_format: str) -> int:
    """Join runs of several ranks or processes into one, sorted by prompt, turn and step."""
    from tracing.merging import merge_runs

    steps = merge_runs(runs, out)
    text = f"{out}: {counted(steps, 'step')} of {counted(len(runs), 'run')}"
    show(output_format, lambda: {"run": out, "steps": steps}, lambda: [text], indent=1)
    return 0


@command.command(name="slice")
@_new_run("slice")
@click.option("--first", required=True, metavar="MOMENT", help="First step, e.g. 0:0:3.")
@click.option("--last", metavar="MOMENT", help="Last step, included; default the first.")
@format_option
def slice_command(run: str, target: Path, first: str, last: str | None, output_format: str) -> int:
    """Write some steps as a run of their own, e.g. to attach to an issue."""
    from tracing.copying import slice_run

    rows = slice_run(run, target, Moment.parse(first), Moment.parse(last or first))
    facts, line = {"run": str(target), "rows": rows}, f"{target}: {counted(rows, 'row')}"
    show(output_format, lambda: facts, lambda: [line], indent=1)
    return 0


@command.command()
@_new_run("export")
@click.option("--parquet", "kind", flag_value="parquet", default=True, help="Parquet; this is the default.")
@click.option("--jsonl", "kind", flag_value="jsonl", help="A JSON object a row.")
@format_option
def export(run: str, target: Path, kind: Kind, output_format: str) -> int:
    """Write a run for other tools: a file a path, one of the findings. Nothing is overwritten."""
    from tracing.export import export_run

    files = [str(file) for file in export_run(run, target, kind)]
    show(output_format, lambda: {"files": files}, lambda: files, indent=1)
    return 0


@command.command()
@_new_run("migrated")
@format_option
def migrate(run: str, target: Path, output_format: str) -> int:
    """Write a run of an older format in the current one."""
    from tracing.copying import migrate_run

    done = migrate_run(run, target)
    line = f"{target}: migrated" if done else f"{run} already has the current format; nothing was written"
    show(output_format, lambda: {"run": str(target) if done else None}, lambda: [line], indent=1)
    return 0
