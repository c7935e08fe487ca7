"""`specwb kernels`: candidates for the operators of the border through three gates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracing.errors import UsageError
from tracing.settings import DEVICES
from workbench.cli.common_options import choice_option, number_option
from workbench.cli.decode_options import backend_option, format_option
from workbench.cli.output import say, show
from workbench.view.safe_text import safe_json, safe_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.kernels.kernel import Kernel
    from workbench.kernels.reports import GateOptions, KernelReport


@click.group(name="kernels")
def command() -> None:
    """Try kernels for the operators that a path calls: build them, judge them, measure them."""


@command.command(name="list")
@click.argument("names", nargs=-1, metavar="[OPERATOR...]")
@format_option
def list_kernels(names: tuple[str, ...], output_format: str) -> int:
    """List operators: level, cases, the published rule, what it computes."""
    kernels = _chosen(names)
    if output_format == "json":
        click.echo(safe_json([_as_json(kernel) for kernel in kernels], indent=1))
        return 0
    width = max(len(kernel.name) for kernel in kernels)
    for kernel in kernels:
        say(
            f"{kernel.name:<{width}}  level {kernel.level}  {len(kernel.cases):>3} cases  {kernel.rule:<12}  "
            f"{kernel.about}"
        )
    return 0


@command.command(name="run")
@click.argument("names", nargs=-1, metavar="[OPERATOR...]")
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    metavar="WHAT",
    help="module:function, FILE.py:function, FILE.c|.cpp:function, planted:NAME; again for several samples.",
)
@click.option("--task", type=click.Path(path_type=Path), help="A task folder of NPUKernelBench instead.")
@choice_option("--device", values=DEVICES)
@backend_option
@click.option("--compile", "compiled", default="", metavar="BACKEND", help="Send it through torch.compile.")
@click.option("--case", "cases", multiple=True, metavar="NAME", help="Only this case; may be repeated.")
@number_option("--seeds", 1, "Inputs of every case.")
@number_option("--timeout", 60, "Seconds for one case.")
@number_option("--memory", 4096, "MiB that a candidate on the host may take.")
@click.option("--measure", default=1.0, show_default=True, help="Seconds of timing an operator; 0 for none.")
@click.option("--at-least", default=0.0, help="Speed-up over plain torch that is asked for.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep what came, for kernels judge.")
@click.option("--tables", is_flag=True, help="In HTML: int4 by shape, lossless weights, experts; a minute.")
@choice_option("--format", "output_format", values=("text", "json", "html"))
def run(names: tuple[str, ...], candidates: tuple[str, ...], **options: Any) -> int:
    """Send candidates through the gates; without one, the border's own.

    Exit codes: 0 every gate was passed, 1 a gate refused, 2 usage, 3 environment, 4 nothing to judge.
    """
    if options["tables"] and options["output_format"] != "html":
        raise UsageError("--tables are part of the page: give --format html too")
    if options["task"] is not None:
        return _run_task(candidates, options)
    reports = _run(names, candidates, options)
    _print(reports, options)
    from workbench.kernels.text import exit_code

    return exit_code(reports)


@command.command(name="judge")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("names", nargs=-1, metavar="[OPERATOR...]")
@choice_option("--format", "output_format", values=("text", "json", "html"))
def judge(folder: Path, names: tuple[str, ...], **options: Any) -> int:
    """Judge what `kernels run --keep` kept, on this machine or another; runs no candidate."""
    _bootstrap("auto")
    from workbench.kernels.kept import judge_kept
    from workbench.kernels.text import exit_code

    reports = judge_kept(folder, _chosen(names) if names else ())
    _print(reports, options)
    return exit_code(reports)


def _bootstrap(backend: str) -> None:
    from workbench.npu.bootstrap import bootstrap

    bootstrap(backend)


def _chosen(names: Sequence[str]) -> tuple[Kernel, ...]:
    _bootstrap("auto")
    from workbench.kernels.operators import chosen

    return chosen(names)


def _run(names: Sequence[str], candidates: Sequence[str], options: dict[str, Any]) -> list[KernelReport]:
    _bootstrap(options["npu_backend"])
    from workbench.kernels.gates import run_gates
    from workbench.kernels.kept import keep_manifest
    from workbench.kernels.planted import planted
    from workbench.kernels.process.candidates import OWN

    if options["keep"] is not None and len(candidates) > 1:
        raise UsageError("--keep takes one candidate at a time")
    reports: list[KernelReport] = []
    for candidate in candidates or (OWN,):
        own = names
        if candidate.startswith("planted:") and not names:
            own = (planted(candidate.partition(":")[2]).kernel,)
        elif candidate != OWN and not names:
            raise UsageError(f"name the operators that {safe_text(candidate)} stands for; see kernels list")
        gates = _options(options)
        made = list(run_gates(_chosen(own), candidate, gates, lambda name: say(name, err=True)))
        if gates.keep is not None:
            keep_manifest(gates.keep, gates, made)
        reports += made
    return reports


def _options(options: dict[str, Any]) -> GateOptions:
    from workbench.fused.fitting import choose_device
    from workbench.kernels.process.limits import Limits
    from workbench.kernels.reports import GateOptions

    keep = options["keep"]
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    return GateOptions(
        device=str(choose_device(options["device"])),
        seeds=tuple(range(options["seeds"])),
        cases=options["cases"],
        compiled=options["compiled"],
        limits=Limits(call_s=float(options["timeout"]), memory_mib=options["memory"]),
        measure_s=options["measure"],
        least_speedup=options["at_least"],
        keep=keep,
    )


def _run_task(candidates: Sequence[str], options: dict[str, Any]) -> int:
    _bootstrap(options["npu_backend"])
    from workbench.kernels.tasks.run import run_task
    from workbench.kernels.text import exit_code

    if len(candidates) > 1:
        raise UsageError("a task folder takes one candidate at a time")
    reports = [run_task(options["task"], candidates[0] if candidates else "", _options(options))]
    _print(reports, options)
    return exit_code(reports)


def _print(reports: Sequence[KernelReport], options: dict[str, Any]) -> None:
    from workbench.kernels.text import as_json, report_lines

    if options["output_format"] == "html":
        from workbench.cli.kernels_page import kernels_page

        click.echo(kernels_page(reports, with_tables=options.get("tables", False)))
    else:
        show(options["output_format"], lambda: as_json(reports), lambda: report_lines(reports), indent=1)


def _as_json(kernel: Kernel) -> dict[str, Any]:
    return {
        "operator": kernel.name,
        "level": kernel.level,
        "about": kernel.about,
        "published_rule": kernel.rule,
        "writes": list(kernel.writes),
        "cases": [{"case": one.name, "values": one.values, "form": one.form} for one in kernel.cases],
    }
