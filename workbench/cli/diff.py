"""`specwb diff`: decode a prompt on both paths in lockstep and show the first wrong thing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tracing.distances import DEFAULT_EDGES
from tracing.errors import UsageError
from workbench.cli.common_options import choice_option, number_option
from workbench.cli.complete import complete_runs
from workbench.cli.decode_options import (
    decode_options,
    drafts_by_kind,
    eager_operators,
    edges_option,
    format_option,
    prompt_option,
    reference_options,
    settings_from,
    step_range,
)
from workbench.cli.fresh_folder import fresh_folder
from workbench.cli.output import hides_progress, say
from workbench.cli.planted import fault_option, planted
from workbench.cli.stdout_for_data import stdout_for_data
from workbench.cli.summaries import show_summary
from workbench.lockstep.session.job import MODES, ON_DIVERGENCE, ON_VIOLATION, LockstepOptions

if TYPE_CHECKING:
    from workbench.lockstep.session.request import DiffRequest, Session
    from workbench.npu.bootstrap import Backend
    from workbench.report.summary import RunSummary

Result = TypeVar("Result")
MAX_TIMEOUT_S = 1e6


def timeout_limit(_context: click.Context, _option: click.Parameter, seconds: float | None) -> float | None:
    """Read `--stage-timeout`.

    Raises:
        UsageError: No time.
    """
    if seconds is not None and not 0 < seconds <= MAX_TIMEOUT_S:  # NaN is neither
        raise UsageError(f"--stage-timeout should be seconds above 0, up to {MAX_TIMEOUT_S:g}, got {seconds}")
    return seconds


@click.command(name="diff")
@click.argument("runs", nargs=-1, metavar="[RUN_A RUN_B]", shell_complete=complete_runs)
@prompt_option
@decode_options
@click.option("--out", metavar="FOLDER", help="Folder of the trace; default runs/TIME.")
@reference_options
@choice_option(
    "--lockstep", values=MODES, text="Feed values stage by stage, or let each path live on its own outputs."
)
@choice_option(
    "--on-divergence",
    values=ON_DIVERGENCE,
    text="End the run after the first wrong step, or rebuild the caches and continue.",
)
@choice_option(
    "--on-violation",
    values=ON_VIOLATION,
    text="What a violated rule does before a launch: end the run, finish the step on the reference's values, "
    "or launch anyway.",
)
@click.option("--steps", metavar="A:B", default=":", help="Judge only these steps of each turn.")
@number_option("--judge-every", 1, metavar="K")
@click.option(
    "--watch-indices",
    is_flag=True,
    help="Record the values of every index tensor of the path, place by place; slower.",
)
@click.option(
    "--repeat/--no-repeat",
    default=True,
    help="Run prefill and one clean step a turn a second time and compare the bits.",
)
@click.option(
    "--stage-timeout",
    type=float,
    callback=timeout_limit,
    metavar="SECONDS",
    help="A stage of the path that takes longer is a finding, and ends the run. Default no limit; with one, "
    "your path runs in a thread of its own.",
)
@edges_option
@fault_option
@click.option("--load-report", is_flag=True, help="Print what the checkpoints hold, to stderr.")
@click.option("--tui", is_flag=True, help="Follow the run on the screen while it is made.")
@format_option
def command(**options: Any) -> int:
    """Decode on both paths in lockstep and show the first wrong thing; or compare two recorded runs.

    Exit codes: 0 all held, 1 findings, 2 usage or unreadable input, 3 environment, 4 inconclusive.
    """
    if options["prompt_file"] is None:
        from workbench.cli.compare import compare_runs

        return compare_runs(options["runs"], options["output_format"])
    if options["runs"]:
        raise UsageError("give --prompt FILE, or two runs to compare, not both")
    from workbench.npu.bootstrap import bootstrap

    backend = bootstrap(options["npu_backend"])
    from workbench.lockstep.session.request import open_session

    request = request_of(backend, options)
    run = _run_on_screen if options["tui"] else _run
    with nullcontext() if options["tui"] else stdout_for_data():
        session = open_session(request)
        if options["out"] is None:
            request = replace(request, out=fresh_folder())
        if options["load_report"]:
            for loaded in session.every_pair:
                say("\n".join(loaded.report.lines()), err=True)
        with planted(session, options["fault_name"], options["fused"]) as under_test:
            summary = run(under_test, request, options["npu_mode"])
    show_summary(summary, options["output_format"])
    return summary.exit_code


def _run_on_screen(session: Session, request: DiffRequest, npu_mode: str) -> RunSummary:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("--tui needs a terminal; leave it out, or open the run later with specwb view")
    return watched(lambda: _run(session, request, npu_mode, quiet=True), request.out)


def watched(run: Callable[[], Result], folder: Path) -> Result:
    """Run `run` in a worker thread while the screen follows what it writes into `folder`.

    Leaving the screen does not end the run: its result, or what it raised, comes when it is done.
    """
    from workbench.tui.app import follow

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="specwb-run") as pool:
        future = pool.submit(run)
        follow(folder, alive=lambda: not future.done())
        if not future.done():
            say(f"the run goes on in {folder}; its result follows when it is done, ctrl+c ends it", err=True)
        return future.result()


def _run(session: Session, request: DiffRequest, npu_mode: str, *, quiet: bool = False) -> RunSummary:
    """Decode under a progress bar, which only a terminal sees; quiet while the screen has the terminal."""
    from workbench.lockstep.judged_run import run_session
    from workbench.npu.capability import as_here

    total = len(session.turns) * request.options.settings.max_new_tokens
    with (
        as_here(npu_mode),
        click.progressbar(
            length=total, label="tokens", file=sys.stderr, show_eta=True, hidden=quiet or hides_progress()
        ) as bar,
    ):
        return run_session(session, request, bar.update)


def request_of(backend: Backend, options: dict[str, Any]) -> DiffRequest:
    """Return what the options of a command ask for."""
    from workbench.lockstep.session.request import DiffRequest
    from workbench.npu.capability import allowed_features, this_platform

    return DiffRequest(
        prompt_file=options["prompt_file"],
        out=Path(options["out"] or "runs"),
        options=LockstepOptions(
            settings=settings_from(options),
            mode=options["lockstep"],
            on_divergence=options["on_divergence"],
            on_violation=options["on_violation"],
            steps=parse_steps(options["steps"], options["max_new_tokens"]),
            judge_every=options["judge_every"],
            watch_indices=options["watch_indices"],
            repeat=options["repeat"],
            seed=options["seed"],
            generator="philox_edges" if options["edge_draws"] else "philox",
        ),
        backend={
            **backend.as_json(),
            "mode": options["npu_mode"],
            "capabilities": sorted(allowed_features(this_platform())),
        },
        eager=eager_operators(options["eager"]),
        rung=options["reference"],
        distance_edges=options["distance_edges"] or DEFAULT_EDGES,
        **drafts_by_kind(options),
        **{name: options[name] for name in _SAME_NAME},
    )


_SAME_NAME = (
    "stage_timeout",
    "model",
    "proposer",
    "fused",
    "device",
    "dtype",
    "reference_device",
    "chat",
    "trust_remote_code",
    "weights",
)


def parse_steps(text: str, max_new_tokens: int) -> tuple[int, int | None]:
    """Read `A:B`, half open; either side may be left out.

    Raises:
        UsageError: Something else, or steps that no turn can have: each emits a token or more.
    """
    steps = step_range(text)
    if steps is None:
        raise UsageError(f"--steps should be A:B with step numbers, e.g. 0:10 or 5:, got {text!r}")
    if steps[0] >= max_new_tokens:
        raise UsageError(f"--steps {text} holds no step of a turn: {max_new_tokens} new tokens end it before")
    return steps
