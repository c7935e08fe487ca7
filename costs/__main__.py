"""`python -m costs [NAME...]`: measure the costs one by one and print the table; `make costs` runs it.

Exit codes: 0 every goal is held, 1 one is missed, 2 usage, 3 environment, 4 one could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from costs.catalogue import COSTS, chosen, measured
from costs.kept import keep, kept, load
from costs.markdown import as_markdown, put
from costs.page import as_page
from costs.row import Cost, Row
from costs.table import as_json, as_text, exit_code
from costs.workshop import Workshop
from tracing.errors import SpecwbError

Wanted = Sequence[tuple[Cost, frozenset[str]]]


def main(argv: Sequence[str]) -> int:
    """Measure what `argv` names and print it."""
    parser = argparse.ArgumentParser(prog="python -m costs", description="What the workbench itself costs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows or groups of rows; all without any")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--page", type=Path, metavar="FILE", help="also write a page of pictures (HTML)")
    parser.add_argument("--runs", type=_count, default=1, metavar="N", help="measure N times (default: once)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="add what was measured to FILE")
    parser.add_argument("--kept", type=Path, metavar="FILE", help="measure nothing, show what --keep wrote")
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="with --kept: put the table into PAGE")
    options = parser.parse_args(argv)
    if options.markdown is not None and options.kept is None:
        parser.error("--markdown takes its rows from a file: say which with --kept FILE")
    try:
        wanted = chosen(COSTS, options.names)
        if options.kept is None:
            rows = _measured(wanted, options.runs, options.keep)
        else:
            rows = _shown(wanted, options.kept, options.markdown)
    except SpecwbError as problem:
        print(f"costs: {problem}", file=sys.stderr)
        return problem.exit_code
    if options.page is not None:
        options.page.write_text(as_page(rows), encoding="utf-8")
    print(json.dumps(as_json(rows), indent=1, allow_nan=False) if options.format == "json" else as_text(rows))
    return exit_code(rows)


def _measured(wanted: Wanted, num_runs: int, file: Path | None) -> list[Row]:
    """Return the rows of the last of some runs, which share the traces that they read; `file` keeps all."""
    rows: list[Row] = []
    with Workshop(_progress) as workshop:
        for _ in range(num_runs):
            workshop.begin_run()
            rows.clear()
            for cost, names in wanted:
                before = load()
                found = list(measured(cost, names, workshop))
                if file is not None:
                    keep(file, found, before=before)
                rows += found
    return rows


def _count(text: str) -> int:
    """Return a number of runs.

    Raises:
        ValueError: It is no whole number above 0.
    """
    if (count := int(text)) < 1:
        raise ValueError(text)
    return count


def _shown(wanted: Wanted, file: Path, page: Path | None) -> list[Row]:
    """Return the last row of each name that was kept; all of them go into the page."""
    measurements = kept(file)
    order = [name for cost, names in wanted for name in cost.rows if name in names]
    if page is not None:
        put(page, as_markdown(measurements, order))
    last = {row.name: row for each in measurements for row in each.rows}
    return [last[name] for name in order if name in last]


def _progress(sentence: str) -> None:
    if sys.stderr.isatty():
        print(f"{sentence} ...", file=sys.stderr)


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # commands start as users start them: from compiled files
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what it started, and tidies up
    sys.exit(main(sys.argv[1:]))
