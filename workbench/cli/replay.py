"""`specwb replay RUN`: judge what was recorded again, from the trace alone or with the models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tracing.errors import UsageError
from tracing.finding import Finding
from tracing.origins import origins_of
from tracing.reader import Run, open_run
from tracing.settings import RUNGS
from workbench.cli.common_options import choice_option
from workbench.cli.complete import complete_runs
from workbench.cli.decode_options import format_option, recorded_proposer_option
from workbench.cli.output import say
from workbench.cli.replay_models import continue_run, fact_lines, with_models
from workbench.cli.replay_options import ReplayOptions, parse_part
from workbench.cli.replay_summary import facts_of, path_under_test_of, summary_of
from workbench.cli.summaries import show_summary
from workbench.judge.align import align
from workbench.judge.recorded.check import check_run
from workbench.judge.recorded.context import read_context
from workbench.judge.recorded.missing import lost_findings, lost_steps
from workbench.judge.recorded.rejudge import (
    Judge,
    Rejudged,
    StepRange,
    judge_recorded,
    recorded_findings,
    rejudge,
)


@click.command(name="replay")
@click.argument("run", shell_complete=complete_runs)
@click.option("--step", "step", metavar="MOMENT|A:B", help="One step, as 0:1:12, or steps A:B of each turn.")
@click.option("--path", "path_name", metavar="NAME", help="Path to judge; default fused, else the first.")
@click.option("--model", metavar="DIR", help="Teacher: judge with the models. `shipped` is the shipped pair.")
@click.option("--draft", metavar="DIR", help="Drafter; without it drafts are not judged.")
@recorded_proposer_option
@choice_option("--reference", values=RUNGS)
@click.option("--reference-device", default="cpu", show_default=True)
@click.option("--trust-remote-code", is_flag=True)
@click.option("--continue", "continues", is_flag=True, help="Decode on from the step of --step, in lockstep.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the continued run; default RUN-continued.",
)
@click.option("--tie-gap", type=float, help="Without models: what a different choice may cost in logits.")
@click.option("--logit-gap", type=float, help="Without models: how far recorded logits may differ.")
@click.option(
    "--allowance-factor",
    type=float,
    default=1.0,
    show_default=True,
    help="Without models: a factor on the allowances of recorded numeric findings.",
)
@format_option
def command(run: str, *, step: str | None, **options: Any) -> int:
    """Judge a recorded run again: the trace alone, or with models the reference on its inputs.

    Exit codes: 0 all held, 1 findings, 2 usage or a damaged trace, 3 models missing, 4 inconclusive.
    """
    opened = open_run(run)
    wanted = ReplayOptions(part=parse_part(step), **options)
    if wanted.continues:
        return continue_run(opened, wanted)
    _require_steps(opened, wanted)
    if wanted.model or wanted.draft:
        return _report(opened, wanted, *with_models(opened, wanted))
    return _report(opened, wanted)


def _require_steps(run: Run, wanted: ReplayOptions) -> None:
    """Refuse steps that the path does not have.

    Raises:
        UsageError: It has steps, and none of them was asked for.
    """
    path = run.path(path_under_test_of(run, wanted.path_name))
    if wanted.part == StepRange() or not path.num_steps:
        return
    keys = path.keys().tolist()
    if not any(wanted.part.holds((prompt_id, turn, step)) for prompt_id, turn, step in keys):
        first, last = path.moment(0), path.moment(len(keys) - 1)
        raise UsageError(f"--step holds none of the {len(keys)} recorded steps, which are {first} to {last}")


def _report(
    run: Run, wanted: ReplayOptions, judge: Judge | None = None, facts: Mapping[str, Any] | None = None
) -> int:
    checked = check_run(run.folder, max_per_rule=None)
    known = list(checked.findings)
    if judge is None:
        known += recorded_findings(run, wanted.allowance_factor)
        judge = judge_recorded(wanted.tie_gap, wanted.logit_gap)
    rejudged = _rejudged(run, judge, wanted, known, checked.not_whole)
    summary = summary_of(run, checked, rejudged, facts or {"models": "not used"})
    if wanted.output_format == "text":
        for problem in checked.problems:
            say(f"trace       {problem}", err=True)
        for line in fact_lines(facts) if facts else ():
            say(line, err=True)
    show_summary(summary, wanted.output_format)
    return summary.exit_code


def _rejudged(
    run: Run, judge: Judge, wanted: ReplayOptions, known: list[Finding], not_whole: tuple[str, ...]
) -> Rejudged:
    under_test = path_under_test_of(run, wanted.path_name)
    paired = run.manifest.get("lockstep") != "free"
    if not paired and len(run.path_names) > 1:
        other = next(name for name in run.path_names if name != under_test)
        known = [*known, *align(run.path(under_test).batches(), run.path(other).batches()).findings()]
    return rejudge(
        run,
        under_test=under_test,
        facts=facts_of(run, under_test),
        max_new_tokens=read_context(run.manifest).max_new_tokens,
        judge=judge,
        known=known,
        part=wanted.part,
        paired=paired,
        lost=lost_steps(origins_of(run.manifest), run.path(under_test)),
        unknown=(*not_whole, *lost_findings(origins_of(run.manifest))),
    )
