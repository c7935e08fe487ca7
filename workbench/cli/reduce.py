"""`specwb reduce`: the smallest run that still fails like this one, in a folder that stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tracing.errors import UsageError
from workbench.cli.common_options import number_option
from workbench.cli.complete import complete_runs
from workbench.cli.decode_options import (
    AUTO,
    decode_options,
    eager_operators,
    edges_option,
    format_option,
    prompt_option,
    reference_options,
    settings_from,
)
from workbench.cli.diff import timeout_limit
from workbench.cli.fresh_folder import fresh_folder
from workbench.cli.output import detail, is_quiet, say, show
from workbench.cli.planted import fault_option
from workbench.cli.stdout_for_data import stdout_for_data

if TYPE_CHECKING:
    from workbench.reduce.case import RunCase
    from workbench.reduce.run import Reduced
    from workbench.reduce.source import OpenedSource, RunSource

FOUND: Final = 1
SHOWN: Final = ("tokens", "nodes", "depth", "layers", "heads", "hidden", "vocab", "bytes")
"""Sizes of the short report."""


@click.command(name="reduce")
@click.argument("run", required=False, metavar="[RUN]", shell_complete=complete_runs)
@prompt_option
@decode_options
@click.option(
    "-o",
    "--out",
    metavar="FOLDER",
    help="What is left, and all outcomes; the same command takes it up. Default runs/reduced-TIME.",
)
@reference_options
@click.option("--stage-timeout", type=float, callback=timeout_limit, metavar="SECONDS", help="As diff.")
@edges_option
@fault_option
@number_option("--workers", 2, "Processes that run cases; 0 runs them in this one.", least=0, metavar="N")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End the search then, with what it has reached.",
)
@number_option("--tries", 3, "Runs of the whole case until it finds something.", metavar="N")
@format_option
def command(**options: Any) -> int:
    """Make a failing run smaller while its first finding stays: rule, stage and who is to blame.

    Steps, tokens, tree, layers, heads, width, vocabulary, weights, dtype and options. What is left is a
    folder with its weights, the tensors of the failing stage, a script that needs torch alone, the trace, and
    a README for an issue. RUN is a recorded run with a finding: its turn is decoded again from its prompt.

    Exit codes: 1 reduced, 2 nothing to reduce, usage or unreadable input, 3 environment.
    """
    _require_one(options)
    from workbench.npu.bootstrap import bootstrap

    bootstrap(options["npu_backend"])
    with stdout_for_data():
        opened, cases = _from_run(options) if options["run"] else _from_prompt(options)
        reduced = _reduced(opened, cases, options)
    show(options["output_format"], reduced.as_json, lambda: _lines(reduced))
    return FOUND


def _require_one(options: dict[str, Any]) -> None:
    """Refuse what cannot be reduced.

    Raises:
        UsageError: No run and no prompt, or both; or an option that this command does not take.
    """
    if (options["run"] is None) == (options["prompt_file"] is None):
        raise UsageError("give a recorded RUN, or --prompt FILE")
    if options["proposer"] == AUTO:
        raise UsageError("reduce takes one proposer; name the one whose run shows the finding")
    if options["fault_name"] is not None and options["fused"] is not None:
        raise UsageError("--fault plants a fault in our own path; leave --fused out")


def _from_prompt(options: dict[str, Any]) -> tuple[OpenedSource, Sequence[RunCase]]:
    from workbench.reduce.asked import cases_of_prompts
    from workbench.reduce.case import RunCase
    from workbench.reduce.source import opened

    models = opened(_source(options, {name: options[name] for name in _MODELS}))
    like = RunCase(
        turns=(),
        settings=settings_from(options),
        dtype=options["dtype"],
        eager=tuple(sorted(eager_operators(options["eager"]))),
        seed=options["seed"],
        generator="philox_edges" if options["edge_draws"] else "philox",
    )
    return models, cases_of_prompts(models, options["prompt_file"], like, chat=options["chat"])


def _from_run(options: dict[str, Any]) -> tuple[OpenedSource, Sequence[RunCase]]:
    from tracing.reader import open_run
    from workbench.cli.replay_summary import facts_of, path_under_test_of, settings_of
    from workbench.reduce.asked import case_of_run, models_of_run
    from workbench.reduce.source import opened

    run = open_run(options["run"])
    dtype = facts_of(run, path_under_test_of(run, None)).dtype
    case = case_of_run(run, settings_of(run), dtype)
    recorded = models_of_run(run)
    given = {name: options[name] for name in ("model", "draft") if options[name] is not None}
    return opened(_source(options, {**recorded, **given})), [case]


_MODELS: Final = ("model", "draft", "proposer", "weights")


def _source(options: dict[str, Any], models: dict[str, Any]) -> RunSource:
    from workbench.campaign.planted import placed
    from workbench.reduce.source import RunSource

    fault = options["fault_name"] or ""
    if fault:
        placed(fault)  # refuses a name of none, and what is not in a path
    return RunSource(
        **models,
        trust_remote_code=options["trust_remote_code"],
        fused=options["fused"],
        fault=fault,
        device=options["device"],
        rung=options["reference"],
        reference_device=options["reference_device"],
        stage_timeout=options["stage_timeout"],
        npu_mode=options["npu_mode"],
    )


def _reduced(opened: OpenedSource, cases: Sequence[RunCase], options: dict[str, Any]) -> Reduced:
    from workbench.reduce.run import Wishes, reduce_cases

    folder = Path(options["out"]) if options["out"] else fresh_folder(prefix="reduced-")
    wishes = Wishes(workers=options["workers"], time_limit=options["time_limit"], tries=options["tries"])
    return reduce_cases(opened, cases, folder, wishes, _tell)


def _tell(axis: str, case: RunCase) -> None:
    tree = case.settings
    size = f"{case.num_tokens} tokens, {tree.tree_nodes} nodes, {tree.max_new_tokens} new tokens"
    say(f"smaller     {axis}: {size}", err=True)


def _lines(reduced: Reduced) -> list[str]:
    finding, before, after = reduced.finding, reduced.before.as_json(), reduced.after.as_json()
    place = ":".join(str(finding[name]) for name in ("prompt_id", "turn", "step", "stage"))
    lines = [f"finding     {finding['rule']} at {place}: {finding['message']}"]
    if is_quiet():
        return [*lines, f"folder      {reduced.folder}"]
    names = before if detail() == "full" else SHOWN
    sizes = [f"{name} {before[name]:,} -> {after[name]:,}" for name in names if before[name] or after[name]]
    lines.append(f"reduced     {', '.join(sizes)}")
    if not reduced.whole:
        lines.append("time        the limit ended the search; the same command with -o takes it up")
    if reduced.observed.rate < 1:
        lines.append(f"comes       in {reduced.observed.rate:.0%} of the runs of the whole case")
    lines.append(f"ran         {reduced.num_run} cases in {reduced.seconds:.0f} s")
    lines.append(f"folder      {reduced.folder}")
    return [*lines, f"next        python {reduced.folder}/repro.py"]
