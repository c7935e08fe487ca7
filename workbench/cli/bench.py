"""`specwb bench`: the paper's evaluation on this machine; or what watching costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tracing.errors import UsageError
from workbench.cli.bench_options import evaluation_options
from workbench.cli.decode_options import format_option


@click.command(name="bench")
@evaluation_options
@click.option("--costs", "with_costs", is_flag=True, help="Sizes and times of the workbench, beside goals.")
@click.option(
    "--only", multiple=True, metavar="NAME", help="With --costs: only these rows or groups; repeatable."
)
@format_option
def command(*, with_costs: bool, only: tuple[str, ...], output_format: str, **options: Any) -> int:
    """Speculative against teacher-only greedy decoding, the paper's studies; or what the workbench costs.

    The same teacher, engine, kernels and stop rules on both sides, turn by turn; every text is compared. A
    results folder that is there already is gone on with.

    Exit codes: 0 all texts are the teacher's own (with --costs: every goal is held), 1 one is not (a goal is
    missed), 2 usage, 3 environment, 4 (with --costs) a goal could not be measured, 130 interrupted.
    """
    if with_costs:
        from workbench.cli.bench_costs import measure_costs

        return measure_costs(only, output_format)
    if only:
        raise UsageError("--only goes with --costs; studies are chosen with --study")
    from workbench.npu.bootstrap import bootstrap

    backend = bootstrap(options["npu_backend"])
    from workbench.cli.bench_evaluation import evaluate

    out = options.pop("out")
    return evaluate(None if out is None else Path(out), backend.as_json(), output_format, options)
