"""`python -m placements`: plant each error, locate it, and print the table; `make placements`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from placements.catalogue import write_located
from placements.measure import Outcome, cases, measure, table
from workbench.npu.bootstrap import bootstrap

ABOUT: Final = """# Where errors are located

One error at a time in what one operator of our path gives at one call (`make placements`): every
operator, layer and forward of prefill, draft and verify of a tiny pair whose teacher has four layers; row,
head and element follow from a seed. The path decodes in lockstep, and the first finding is located.

*Named exactly*: the tensor with the error is named, and no other; of two errors both. So layer and operator
are right. *Placed exactly*: so are its row, head and element. Errors that lockstep *missed* have no finding
to start from: they change nothing beyond what rounding allows (a query that sees one key alone, a row that
nobody reads, a small part of a sum in bfloat16); their stage was opened nevertheless (*then named*). *Noise*
is one unit in the last place here and there: named exactly means that nothing is accused.
"""
MOST: Final = 20
"""Errors that are listed one by one."""


def main(argv: Sequence[str]) -> int:
    """Measure all cases of a seed."""
    parser = argparse.ArgumentParser(prog="python -m placements", description="Are single errors located?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="take every K-th case")
    parser.add_argument("--faults", type=Path, help="locate the faults of the catalogue; write a column here")
    parser.add_argument("--out", type=Path, help="write the page here instead of printing it")
    options = parser.parse_args(argv)
    bootstrap("auto")
    if options.faults is not None:
        write_located(options.faults)
        return 0
    outcomes: list[Outcome] = []
    for case in list(cases(options.seed))[:: options.every]:
        outcomes.append(measure(case))
        if not outcomes[-1].is_placed:
            print(_missed(outcomes[-1]), file=sys.stderr, flush=True)
    page = "\n".join([ABOUT, *table(outcomes), "", *_listed(outcomes)]) + "\n"
    if options.out is None:
        print(page, end="")
    else:
        options.out.write_text(page, encoding="utf-8")
    return 0


def _listed(outcomes: Sequence[Outcome]) -> list[str]:
    missed = [each for each in outcomes if not each.is_placed]
    return [f"* {_missed(each)}" for each in missed[:MOST]]


def _missed(outcome: Outcome) -> str:
    case = outcome.case
    planted = ", ".join(
        f"{place.name} {place.forward} ({place.stage}, row {place.row})" for place in case.places
    )
    what = "not quite at its place" if outcome.is_named else f"named {', '.join(outcome.named)}"
    return f"{case.dtype} {case.kind}: {planted}: {'' if outcome.is_noticed else 'not noticed, '}{what}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
