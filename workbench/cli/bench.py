"""`specwb bench`: what watching costs, measured on this machine."""

from __future__ import annotations

import click

from tracing.errors import UsageError
from workbench.cli.decode_options import format_option


@click.command(name="bench")
@click.option("--costs", "with_costs", is_flag=True, help="Sizes and times of the workbench, beside goals.")
@click.option(
    "--only", multiple=True, metavar="NAME", help="With --costs: only these rows or groups; repeatable."
)
@format_option
def command(*, with_costs: bool, only: tuple[str, ...], output_format: str) -> int:
    """Measure what the workbench costs on this machine.

    Exit codes: 0 every goal is held, 1 a goal is missed, 2 usage, 4 a goal could not be measured.
    """
    if not with_costs:
        raise UsageError("bench needs to know what to measure; say --costs")
    from workbench.cli.bench_costs import measure_costs

    return measure_costs(only, output_format)
