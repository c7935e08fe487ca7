"""`python -m costs [NAME...]`: measure the costs one by one and print the table; `make costs` runs it.

Exit codes: 0 every goal is held, 1 one is missed, 2 usage, 3 environment, 4 one could not be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from costs.catalogue import COSTS, chosen, measured
from costs.page import as_page
from costs.table import as_json, as_text, exit_code
from costs.workshop import Workshop
from tracing.errors import SpecwbError


def main(argv: Sequence[str]) -> int:
    """Measure what `argv` names and print it."""
    parser = argparse.ArgumentParser(prog="python -m costs", description="What the workbench itself costs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows or groups of rows; all without any")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--page", type=Path, metavar="FILE", help="also write a page of pictures (HTML)")
    options = parser.parse_args(argv)
    try:
        wanted = chosen(COSTS, options.names)
        with Workshop(_progress) as workshop:
            rows = [row for cost, names in wanted for row in measured(cost, names, workshop)]
    except SpecwbError as problem:
        print(f"costs: {problem}", file=sys.stderr)
        return problem.exit_code
    if options.page is not None:
        options.page.write_text(as_page(rows), encoding="utf-8")
    print(json.dumps(as_json(rows), indent=1, allow_nan=False) if options.format == "json" else as_text(rows))
    return exit_code(rows)


def _progress(sentence: str) -> None:
    if sys.stderr.isatty():
        print(f"{sentence} ...", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
