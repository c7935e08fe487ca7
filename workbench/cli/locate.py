"""`specwb locate`: from the first wrong stage of a run to the layer, the operator and the element in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tracing.errors import UsageError
from tracing.settings import RUNGS
from workbench.cli.decode_options import AUTO, choice_option, decode_options, format_option
from workbench.cli.diff import request_of, timeout_limit
from workbench.cli.fresh_folder import fresh_folder
from workbench.cli.output import detail, say
from workbench.cli.planted import faults_option, planted_all
from workbench.cli.stdout_for_data import stdout_for_data
from workbench.view.safe_text import safe_json

if TYPE_CHECKING:
    from workbench.locate.located import Located
    from workbench.lockstep.session.request import DiffRequest, Session
    from workbench.report.summary import RunSummary

STAGED: Final = {
    "lockstep": "staged",
    "on_divergence": "stop",
    "on_violation": "stop",
    "steps": ":",
    "judge_every": 1,
    "watch_indices": False,
    "distance_edges": None,
}
"""Options of diff that this command does not have."""


@click.command(name="locate")
@click.option("--prompt", "prompt_file", metavar="FILE|-", required=True, help="Text, or .jsonl with turns.")
@decode_options
@click.option("--out", metavar="FOLDER", help="Folder of the trace; default runs/TIME.")
@choice_option("--reference", values=RUNGS, text="Rung of the reference.")
@click.option("--reference-device", default="cpu", show_default=True, help="Where the reference runs.")
@click.option("--repeat/--no-repeat", default=True, help="As diff.")
@click.option("--stage-timeout", type=float, callback=timeout_limit, metavar="SECONDS", help="As diff.")
@faults_option
@format_option
def command(**options: Any) -> int:
    """Decode in lockstep up to the first finding, then open its stage down to the tensor that is wrong.

    Each tensor that the path gives of its networks (`DecodePath.intermediates`) is compared with what its own
    operator makes of the tensors that the path gave before it, so that what was wrong already accuses nobody
    further on, and two faults are found as two.

    Exit codes: 0 all held, 1 findings, 2 usage or unreadable input, 3 environment, 4 inconclusive.
    """
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
        with planted_all(session, options["fault_names"], options["fused"]) as under_test:
            summary, located = _run(under_test, request, options["npu_mode"])
    _report(summary, located, options["output_format"])
    return summary.exit_code


def _run(session: Session, request: DiffRequest, npu_mode: str) -> tuple[RunSummary, Located | None]:
    from workbench.locate.located import locate
    from workbench.locate.scene import Subject
    from workbench.lockstep.judged_run import run_session, runner_of
    from workbench.npu.capability import allowed_features, this_platform
    from workbench.npu.modes import use_capabilities, use_mode

    settings = request.options.settings
    with use_mode(npu_mode), use_capabilities(allowed_features(this_platform())):
        summary = run_session(session, request, lambda _: None)
        first = summary.first_divergence
        if first is None:
            return summary, None
        subject = Subject(
            path=session.path,
            runner=runner_of(session, request, session.loaded.pair, settings, session.model_facts(settings)),
            pair=session.loaded.pair,
            turns=session.turns,
            options=request.options,
            dtype=session.dtype,
            user_code=session.user_code,
        )
        return summary, locate(subject, first)


def _report(summary: RunSummary, located: Located | None, output_format: str) -> None:
    if output_format == "json":
        run = {"run": summary.as_json(), "located": None if located is None else located.as_json()}
        click.echo(safe_json(run))
        return
    from workbench.locate.text import located_lines
    from workbench.report.text import render_text

    lines: Sequence[str] = () if located is None else located_lines(located, full=detail() == "full")
    say("\n".join([render_text(summary, "short").rstrip("\n"), *lines, *_where(summary.run)]))


def _where(run: Path | None) -> Sequence[str]:
    return () if run is None else (f"run         {run}",)
