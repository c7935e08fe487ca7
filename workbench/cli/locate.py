"""`specwb locate`: from the first wrong stage of a run to the layer, the operator and the element in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracing.errors import UsageError
from workbench.cli.complete import complete_runs
from workbench.cli.decode_options import AUTO, decode_options, format_option, prompt_option, reference_options
from workbench.cli.diff import request_of, timeout_limit
from workbench.cli.fresh_folder import fresh_folder
from workbench.cli.locate_run import STAGED, locate_run, subject_of
from workbench.cli.output import detail, hides_progress, say
from workbench.cli.planted import PlantAll, faults_option, planted_all
from workbench.cli.stdout_for_data import stdout_for_data
from workbench.view.safe_text import safe_json

if TYPE_CHECKING:
    from tracing.finding import Finding
    from tracing.stages import DecodePath
    from workbench.locate.located import Located
    from workbench.locate.scene import Subject
    from workbench.locate.swapping import SwapReport
    from workbench.lockstep.session.request import DiffRequest, Session
    from workbench.report.summary import RunSummary


@click.command(name="locate")
@click.argument("run", required=False, shell_complete=complete_runs)
@prompt_option
@click.option(
    "--at",
    metavar="MOMENT",
    help="What is wrong in RUN, e.g. 0:0:45; default the first wrong token or error.",
)
@click.option(
    "--rerun/--no-rerun", default=True, help="Decode RUN again with its path, or read its digests alone."
)
@decode_options
@click.option("--out", metavar="FOLDER", help="Folder of the trace; default runs/TIME.")
@reference_options
@click.option("--repeat/--no-repeat", default=True, help="As diff.")
@click.option("--stage-timeout", type=float, callback=timeout_limit, metavar="SECONDS", help="As diff.")
@faults_option
@click.option(
    "--swap",
    "swaps",
    is_flag=True,
    help="Swap fused operators for eager ones and back, alone and together: which of them mend the run.",
)
@format_option
def command(**options: Any) -> int:
    """Open the first wrong stage down to the tensor, or trace a wrong token of RUN back to who caused it.

    With --prompt it decodes in lockstep up to the first finding, and opens its stage.
    Each tensor that the path gives of its networks (`DecodePath.intermediates`) is compared with what its own
    operator makes of the tensors that the path gave before it, so that what was wrong already accuses nobody
    further on, and two faults are found as two.

    With RUN it takes the first token that the teacher does not choose, else the first error, decodes again up
    to there, and goes back to the step and stage that wrote the cache row which made it wrong.

    Exit codes: 0 all held, 1 findings, 2 usage or unreadable input, 3 environment, 4 inconclusive.
    """
    if options["run"] is not None:
        if options["prompt_file"] is not None:
            raise UsageError("give a recorded RUN or --prompt FILE, not both")
        return locate_run(options["run"], options["at"], options)
    if options["prompt_file"] is None:
        raise UsageError("give a recorded RUN, or --prompt FILE to decode now")
    if options["at"] is not None:
        raise UsageError(
            "--at says what is wrong in a recorded RUN; with --prompt the first finding is taken"
        )
    if options["proposer"] == AUTO:
        raise UsageError("locate takes one proposer; name the one whose run shows the finding")
    from workbench.npu.bootstrap import bootstrap

    backend = bootstrap(options["npu_backend"])
    from workbench.lockstep.session.request import open_session

    request = request_of(backend, {**STAGED, **options})
    with stdout_for_data():
        session = open_session(request)
        if options["out"] is None:
            request = replace(request, out=fresh_folder())
        with planted_all(options["fault_names"], options["fused"]) as plant:
            found = _run(session, request, plant, options["npu_mode"], swaps=options["swaps"])
    _report(found, options["output_format"])
    return found.summary.exit_code


@dataclass(frozen=True, slots=True)
class _Found:
    """What the command reports; None where nothing was found, or was not asked for."""

    summary: RunSummary
    located: Located | None = None
    swap: SwapReport | None = None


def _run(session: Session, request: DiffRequest, plant: PlantAll, npu_mode: str, *, swaps: bool) -> _Found:
    from workbench.locate.located import locate
    from workbench.lockstep.judged_run import run_session
    from workbench.npu.capability import as_here

    with as_here(npu_mode):
        under_test = replace(session, path=plant(session.path))
        summary = run_session(under_test, request, lambda _: None)
        first = summary.first_divergence
        if first is None:
            return _Found(summary)
        subject = subject_of(session, request, under_test.path)
        swapped = _swapped(subject, session, request, plant, first) if swaps else None
        return _Found(summary, locate(subject, first), swapped)


def _swapped(
    subject: Subject, session: Session, request: DiffRequest, plant: PlantAll, first: Finding
) -> SwapReport:
    from workbench.locate.swapping import swap
    from workbench.locate.variants import Variants
    from workbench.lockstep.session.contenders import SharedWeights
    from workbench.lockstep.session.contexts import context_of
    from workbench.lockstep.session.ports import load_factory, takes_eager
    from workbench.lockstep.session.request import path_of

    settings, pair = request.options.settings, session.loaded.pair
    shared = pair if request.fused else SharedWeights(request.device, request.dtype).of(pair)

    def make(operators: frozenset[str]) -> DecodePath:
        asked = replace(request, eager=request.eager | operators)
        return plant(path_of(asked, shared, settings, session.user_code))

    def told(text: str) -> None:
        if not hides_progress():
            say(text, err=True)

    can_swap = request.fused is None or takes_eager(load_factory(request.fused))
    variants = Variants(make, by_stage=request.fused is None) if can_swap else None
    return swap(subject, variants, context_of(pair, subject.path, settings), first, told)


def _report(found: _Found, output_format: str) -> None:
    located, swap = found.located, found.swap
    if output_format == "json":
        run = {
            "run": found.summary.as_json(),
            "located": None if located is None else located.as_json(),
            **({} if swap is None else swap.as_json()),
        }
        click.echo(safe_json(run))
        return
    from workbench.locate.swap_text import swap_lines
    from workbench.locate.text import located_lines
    from workbench.report.text import render_text

    lines = [] if located is None else located_lines(located, full=detail() == "full")
    lines += [] if swap is None else swap_lines(swap.swapped, swap.ways)
    summary = found.summary
    say("\n".join([render_text(summary, "short").rstrip("\n"), *lines, *_where(summary.run)]))


def _where(run: Path | None) -> Sequence[str]:
    return () if run is None else (f"run         {run}",)
