"""`specwb bench`: the paper's evaluation on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from workbench.cli.bench_options import evaluation_options
from workbench.cli.decode_options import format_option


@click.command(name="bench")
@evaluation_options
@format_option
def command(*, output_format: str, **options: Any) -> int:
    """Speculative against teacher-only greedy decoding, and the paper's studies.

    The same teacher, engine, kernels and stop rules on both sides, turn by turn; every text is compared. A
    results folder that exists already is continued.

    Exit codes: 0 all texts are the teacher's own, 1 one is not, 2 usage, 3 environment, 130 interrupted.
    """
    from workbench.npu.bootstrap import bootstrap

    backend = bootstrap(options["npu_backend"])
    from workbench.cli.bench_evaluation import evaluate

    out = options.pop("out")
    return evaluate(None if out is None else Path(out), backend.as_json(), output_format, options)
