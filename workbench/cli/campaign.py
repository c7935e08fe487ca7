"""`specwb campaign`: plan cases, run them on many workers, merge them into one verdict."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracing.errors import UsageError
from tracing.settings import DEVICES
from workbench.cli.common_options import choice_option
from workbench.cli.decode_options import format_option
from workbench.cli.output import hides_progress, say, show
from workbench.view.counted import counted
from workbench.view.safe_text import safe_json

if TYPE_CHECKING:
    from workbench.campaign.merged import Merged
    from workbench.campaign.worker import WorkerJob

folder_argument = click.argument("folder", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path))


@click.group(name="campaign")
def command() -> None:
    """Plan many independent cases, run them on many workers, and merge them into one verdict."""


@command.command()
@click.argument("suite")
@click.option("--out", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="New folder.")
@click.option("--over", default="", metavar="AXIS=VALUE,...", help="Options to vary, e.g. dtype or tree.")
@choice_option("--cover", values=("pairwise", "full"), text="Every pair of values, or all combinations.")
@click.option(
    "--cases", type=click.IntRange(min=1), metavar="N", help="How many; default as the cover needs."
)
@click.option("--fault", "faults", multiple=True, metavar="NAME", help="Plant it in some cases; repeatable.")
@click.option("--canaries", type=click.IntRange(min=0), default=1, show_default=True, metavar="N")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--model", metavar="DIR", help="Teacher checkpoint; default the shipped pair.")
@click.option("--draft", metavar="DIR", help="Drafter checkpoint.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=32, show_default=True)
@choice_option("--device", values=DEVICES, text="Of the path under test.")
@click.option("--memory-mb", type=click.IntRange(min=0), default=0, metavar="MB", help="A worker needs it.")
@format_option
def plan(suite: str, out: Path, output_format: str, **options: Any) -> int:
    """Write a plan of independent cases over the prompts of a suite.

    SUITE: full, code, chat, a file, humaneval:FILE, mt-bench:FILE or synthetic:COUNT:LENGTH,LENGTH.
    """
    from workbench.campaign.plan import PlanRequest, make_plan, write_plan

    for name in options["faults"]:
        _require_fault(name)
    made = make_plan(PlanRequest(suite=suite, **options))
    write_plan(made, out)
    facts = {"plan": str(out), "cases": len(made.cases), "axes": dict(made.axes)}
    axes = ", ".join(f"{axis} ({len(values)})" for axis, values in made.axes.items())
    text = f"{out}: {counted(len(made.cases), 'case')}, axes {axes or 'none'}"
    show(output_format, lambda: facts, lambda: [text])
    return 0


def _require_fault(name: str) -> None:
    from workbench.campaign.planted import placed
    from workbench.npu.bootstrap import bootstrap

    bootstrap("auto")
    placed(name)


@command.command()
@folder_argument
@click.option("--on", default="local", show_default=True, metavar="local|ray[=ADDRESS]|shard=I/N")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Default 1, or what a cluster has.")
@click.option("--fused", metavar="MODULE:FACTORY", help="The path under test; default ours.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Of torch, in each worker.")
@click.option("--keep-every", type=click.IntRange(min=0), default=50, show_default=True, metavar="K")
@click.option("--keep-mb", type=click.IntRange(min=0), default=1024, show_default=True, metavar="MB")
@format_option
def run(folder: Path, *, on: str, workers: int | None, output_format: str, **options: Any) -> int:
    """Run what is not finished of a plan, then merge; started again, it goes on.

    Every worker decodes the canaries. A worker that dies is replaced and its case tried once more. Traces of
    cases with findings are kept, and those of every K-th clean case, up to a size per worker.

    Exit codes: 0 all held, 1 findings, a missed fault or an odd machine, 3 cases were lost, 4 inconclusive.
    """
    from workbench.campaign.plan import read_plan
    from workbench.campaign.run import parse_where, run_plan

    planned = read_plan(folder)
    where = parse_where(on, workers)
    job = _job(folder, planned.about, where.index, options)
    progress = Progress()
    bar: Any
    with click.progressbar(
        length=len(planned.cases),
        label="cases",
        file=sys.stderr,
        hidden=hides_progress(),
        item_show_func=lambda _: progress.told(),
    ) as bar:
        run_plan(planned, job, where, lambda outcome: bar.update(1, progress.after(outcome)))
    return _say_merged(_merged(folder), output_format)


@dataclass(slots=True)
class Progress:
    """What stands behind the bar: how fast cases are finished, and how many had findings or were lost."""

    begun: float = field(default_factory=time.monotonic)
    cases: int = 0
    found: int = 0
    lost: int = 0

    def after(self, outcome: Mapping[str, Any]) -> int:
        """Count a case; return how many there were."""
        self.cases += 1
        self.found += bool(outcome.get("num_findings"))
        self.lost += outcome["verdict"] == "lost"
        return self.cases

    def told(self) -> str:
        """Return it as text."""
        rate = self.cases / max(time.monotonic() - self.begun, 1e-9)
        lost = f", {self.lost} lost" if self.lost else ""
        return f"{rate:.2f} cases/s, {self.found} with findings{lost}"


def _job(folder: Path, about: Any, shard: int, options: dict[str, Any]) -> WorkerJob:
    from workbench.campaign.worker import WorkerJob

    return WorkerJob(
        folder=str(folder.resolve()),
        name=f"shard{shard}",
        model=about["model"],
        draft=about["draft"],
        max_new_tokens=about["max_new_tokens"],
        device=about["device"],
        fused=options["fused"],
        keep_every=options["keep_every"],
        keep_bytes=options["keep_mb"] << 20,
        threads=options["threads"],
    )


@command.command()
@folder_argument
@click.argument(
    "before", required=False, metavar="[BEFORE]", type=click.Path(file_okay=False, path_type=Path)
)
@choice_option("--format", "output_format", values=("text", "json", "junit", "sarif", "html"))
def merge(folder: Path, before: Path | None, output_format: str) -> int:
    """Merge the outcomes of a campaign into one verdict; with BEFORE, say what is new, gone and flaky."""
    merged = _merged(folder)
    if before is None:
        return _say_merged(merged, output_format)
    from workbench.campaign.compared import Verdicts, compare
    from workbench.campaign.ledger import outcomes

    difference = compare(
        _merged(before), Verdicts.read(outcomes(before)), merged, Verdicts.read(outcomes(folder))
    )
    if output_format not in {"text", "json"}:
        raise UsageError("two campaigns side by side are told as text or json")
    show(output_format, difference.as_json, difference.lines)
    return 1 if difference.new else 0


def _merged(folder: Path) -> Merged:
    from workbench.campaign.ledger import outcomes
    from workbench.campaign.merged import merge as merge_outcomes
    from workbench.campaign.plan import read_plan

    return merge_outcomes(read_plan(folder), outcomes(folder))


def _say_merged(merged: Merged, output_format: str) -> int:
    from workbench.campaign.text import as_json, junit_of, lines_of

    if output_format == "json":
        click.echo(safe_json(as_json(merged)))
    elif output_format == "junit":
        click.echo(junit_of(merged), nl=False)
    elif output_format == "sarif":
        from workbench.campaign.sarif import sarif_of

        click.echo(safe_json(sarif_of(merged), indent=1))
    elif output_format == "html":
        from workbench.campaign.page import page_of

        click.echo(page_of(merged), nl=False)
    else:
        say("\n".join(lines_of(merged)))
    return merged.exit_code
