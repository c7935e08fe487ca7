"""`specwb diff RUN_A RUN_B`: the first difference of two recordings; no models, no torch."""

from __future__ import annotations

import json
from typing import Any

import click

from tracing.columns import KEY_COLUMNS
from tracing.errors import UsageError
from tracing.reader import Run, open_run
from workbench.judge.align import Alignment, align
from workbench.judge.align_columns import default_columns
from workbench.report.text import finding_line

DIFFERENT, NOTHING_COMPARED = 1, 4
NEEDED = ("committed_len", "emitted_token_ids", "token_ids")
"""What places a difference, whether it is compared or not."""


def compare_runs(folders: tuple[str, ...], output_format: str) -> int:
    """Compare the first path of two runs and print what differs.

    Returns:
        0 the same, 1 different, 4 nothing could be compared.

    Raises:
        UsageError: Not two folders.
        TraceError: A folder is no readable run.
    """
    if len(folders) != 2:
        raise UsageError(f"give --prompt FILE, or two runs to compare; got {len(folders)} run(s)")
    left, right = (open_run(folder) for folder in folders)
    alignment = _align(left, right)
    exit_code = _exit_code(alignment)
    if output_format == "json":
        click.echo(json.dumps(_as_json(alignment, exit_code), allow_nan=False))
    else:
        click.echo("\n".join(_lines(alignment, exit_code)))
    return exit_code


def _align(left: Run, right: Run) -> Alignment:
    lacks = frozenset(
        column
        for run in (left, right)
        for column in run.manifest.get("paths", {}).get(run.path_names[0], {}).get("lacks", ())
    )
    bits = left.manifest.get("versions") == right.manifest.get("versions")
    columns = default_columns(bits=bits, lacks=lacks)
    names = [*KEY_COLUMNS, *NEEDED, *(column.name for column in columns)]
    first, second = (run.path(run.path_names[0]) for run in (left, right))
    return align(first.sealed_batches(names), second.sealed_batches(names), columns)


def _exit_code(alignment: Alignment) -> int:
    if alignment.num_turns_differing:
        return DIFFERENT
    return 0 if alignment.same else NOTHING_COMPARED


def _lines(alignment: Alignment, exit_code: int) -> list[str]:
    said = {0: "the same", DIFFERENT: "different", NOTHING_COMPARED: "inconclusive (nothing compared)"}
    return [
        f"verdict     {said[exit_code]}",
        f"steps       {alignment.num_steps} equal; {alignment.num_turns_differing} turn(s) differ",
        *(f"first       {finding_line(finding)}" for finding in alignment.findings()),
        *(
            f"not compared {name}: one of the runs does not have it"
            for name in sorted(alignment.not_compared)
        ),
    ]


def _as_json(alignment: Alignment, exit_code: int) -> dict[str, Any]:
    findings = [finding.as_json() for finding in alignment.findings()]
    return {
        "exit_code": exit_code,
        "same": exit_code == 0,
        "steps": alignment.num_steps,
        "turns_differing": alignment.num_turns_differing,
        "first_divergence": findings[0] if findings else None,
        "findings": findings,
        "not_compared": sorted(alignment.not_compared),
    }
