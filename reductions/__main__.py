"""`python -m reductions`: reduce the run of each fault, and keep tokens, nodes and bytes of what is left."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from tracing.errors import SpecwbError
from workbench.faults.catalogue import chosen
from workbench.faults.fault import Fault
from workbench.npu.bootstrap import bootstrap
from workbench.reduce.run import Reduced, Wishes, reduce_cases
from workbench.reduce.source import RunSource, bench_case, opened

ABOUT: Final = (
    "*Reduced to* is what `specwb reduce` leaves of the run while its first finding stays: tokens of the "
    "prompt, nodes of the tree, bytes of the weights. Cells of 96 tokens are of the shipped pair, those of "
    "fewer of the tiny one; an empty cell was not measured."
)


def main(argv: Sequence[str]) -> int:
    """Measure faults of these names; what the file holds of others stays."""
    parser = argparse.ArgumentParser(prog="python -m reductions", description="How small do faults become?")
    parser.add_argument("names", nargs="*", help="faults, ids or families; all without")
    parser.add_argument("--bench", choices=("tiny", "shipped"), default="shipped")
    parser.add_argument("--out", type=Path, default=Path("docs/reduced.json"))
    parser.add_argument("--limit", type=float, default=300.0, help="seconds of a search")
    parser.add_argument("--missing", action="store_true", help="only those that the file does not hold")
    options = parser.parse_args(argv)
    bootstrap("auto")
    cells: dict[str, str] = {}
    shares: list[tuple[float, float]] = []
    if options.out.exists():
        cells = dict(json.loads(options.out.read_text(encoding="utf-8"))["faults"])
    for fault in _in_paths(options.names):
        if options.missing and fault.name in cells:
            continue
        start = time.process_time()
        cells[fault.name], share = _measured(fault, options.bench, options.limit)
        shares += share
        told = f"{fault.name}: {cells[fault.name]} ({time.process_time() - start:.0f} s of a processor)"
        print(told, file=sys.stderr, flush=True)
        _write(options.out, cells)
    if shares:
        tokens, nodes = (median(each) for each in zip(*shares, strict=True))
        print(f"{len(shares)} reduced; on the median to {tokens:.1%} of the tokens, {nodes:.1%} of the nodes")
    return 0


def _in_paths(names: Sequence[str]) -> Iterator[Fault]:
    """Yield faults that are in the path under test."""
    for fault in chosen(names):
        place = fault.place()
        if not (place.rows or place.files or place.runner):
            yield fault


def _measured(fault: Fault, bench: str, limit: float) -> tuple[str, list[tuple[float, float]]]:
    """Return the cell of a fault, and which share of tokens and nodes is left."""
    source = RunSource(bench=bench, need=fault.need, fault=fault.name)
    with tempfile.TemporaryDirectory(prefix="specwb-reduce-") as folder:
        try:
            models, wishes = opened(source), Wishes(workers=0, time_limit=limit)
            reduced = reduce_cases(models, [bench_case(source)], Path(folder) / "out", wishes)
        except SpecwbError as problem:
            return f"not reduced: {problem}", []
    before, after = reduced.before, reduced.after
    return _cell(reduced), [(after.tokens / before.tokens, after.nodes / before.nodes)]


def _cell(reduced: Reduced) -> str:
    before, after = reduced.before, reduced.after
    size = f"{after.bytes / 1000:,.0f} kB" if after.bytes < 1e6 else f"{after.bytes / 1e6:,.1f} MB"
    ended = "" if reduced.whole else " (time limit)"
    return f"{after.tokens} of {before.tokens}, {after.nodes} of {before.nodes}, {size}{ended}"


def _write(out: Path, cells: Mapping[str, str]) -> None:
    held: dict[str, Any] = {
        "column": "reduced to (tokens, nodes, bytes)",
        "about": ABOUT,
        "faults": dict(sorted(cells.items())),
    }
    out.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
