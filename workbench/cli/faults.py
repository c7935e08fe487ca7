"""`specwb faults`: named faults, and the rules that notice each of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracing.settings import DEVICES
from workbench.cli.common_options import choice_option
from workbench.cli.complete import complete_faults
from workbench.cli.decode_options import format_option, proposer_option
from workbench.cli.output import hides_progress, say
from workbench.view.safe_text import safe_json, safe_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.faults.bench import Bench
    from workbench.faults.fault import Fault
    from workbench.faults.matrix import MeasuredColumn
    from workbench.faults.run import Sighting


@click.group(name="faults")
def command() -> None:
    """Put a named fault into a run and see which rule notices it first."""


@command.command(name="list")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_faults)
@format_option
def list_faults(names: tuple[str, ...], output_format: str) -> int:
    """List faults: all, or those of these names, ids or families."""
    faults = _chosen(names)
    if output_format == "json":
        click.echo(safe_json([_as_json(fault) for fault in faults], indent=1))
    else:
        width = max(len(fault.name) for fault in faults)
        for fault in faults:
            click.echo(f"{fault.id:<13} {fault.name:<{width}}  {fault.stage:<9} {fault.about}")
    return 0


@command.command(name="run")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_faults)
@click.option("--shipped", is_flag=True, help="On the shipped pair instead of the tiny one; takes minutes.")
@proposer_option
@choice_option("--device", values=DEVICES, text="Of the path under test; auto is the host.")
@choice_option("--format", "output_format", values=("text", "json", "markdown"))
@click.option("--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write here.")
@click.option(
    "--keep",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep each recorded run below this folder, by the fault's id.",
)
@click.option(
    "--beside",
    metavar="FILE",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="With markdown: a column that was measured elsewhere, e.g. by `make reductions`; may be repeated.",
)
def run(
    names: tuple[str, ...],
    *,
    shipped: bool,
    proposer: str,
    device: str,
    output_format: str,
    out: Path | None,
    keep: Path | None,
    beside: tuple[Path, ...],
) -> int:
    """Run faults: all, or those of these names, ids or families.

    Exit codes: 0 every fault was noticed as named, 1 some were not, 2 usage, 3 environment.
    """
    columns = _columns(beside, output_format)
    faults = _chosen(names)
    bench = _bench(shipped=shipped, proposer=proposer)
    if device != "auto":
        bench = bench.on(device)
    sightings = _run(faults, bench, keep)
    text = _render(sightings, bench, output_format, columns)
    if out is None:
        say(text)
    else:
        out.write_text(text, encoding="utf-8")
    return 0 if all(sighting.as_expected for sighting in sightings) else 1


def _chosen(names: Sequence[str]) -> tuple[Fault, ...]:
    from workbench.npu.bootstrap import bootstrap

    bootstrap("auto")
    from workbench.faults.catalogue import chosen

    return chosen(names)


def _bench(*, shipped: bool, proposer: str) -> Bench:
    from workbench.faults.bench import shipped_bench, tiny_bench

    return shipped_bench(proposer) if shipped else tiny_bench(proposer)


def _run(faults: Sequence[Fault], bench: Bench, keep: Path | None) -> list[Sighting]:
    from workbench.faults.run import run_faults

    with click.progressbar(
        run_faults(faults, bench, keep),
        length=len(faults),
        label="faults",
        file=sys.stderr,
        hidden=hides_progress(),
    ) as bar:
        return list(bar)


def _columns(files: Sequence[Path], output_format: str) -> Sequence[MeasuredColumn]:
    from tracing.errors import UsageError
    from workbench.faults.matrix import read_column

    if files and output_format != "markdown":
        raise UsageError("--beside adds columns to the page of --format markdown")
    return [read_column(file) for file in files]


def _render(
    sightings: Sequence[Sighting], bench: Bench, output_format: str, columns: Sequence[MeasuredColumn]
) -> str:
    from workbench.faults.matrix import render, summary

    if output_format == "json":
        return json.dumps([sighting.as_json() for sighting in sightings], indent=1) + "\n"
    if output_format == "markdown":
        return render(sightings, bench, columns)
    return "\n".join([*(_line(sighting) for sighting in sightings), summary(sightings)]) + "\n"


def _line(sighting: Sighting) -> str:
    from workbench.faults.matrix import text_cell

    first = sighting.first
    mark = "ok" if sighting.as_expected else "!!"
    place = (
        f"{first.rule} at {first.moment or first.stage}, blames {first.guilty}" if first else "not noticed"
    )
    accepted = f"accepted {sighting.clean_accepted:.2f} -> {sighting.faulty_accepted:.2f}"
    seen = f"text {text_cell(sighting)}, {accepted}"
    line = f"{mark} {sighting.fault.id} {sighting.fault.name} ({sighting.fault.stage}): {place}; {seen}"
    return safe_text(line)


def _as_json(fault: Fault) -> dict[str, object]:
    names = ("id", "name", "family", "stage", "about", "seen_in", "noticed_by", "need", "common_mode")
    return {name: getattr(fault, name) for name in names}
