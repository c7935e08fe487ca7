"""`python -m causes [NAME...]`: plant each mistake, keep what was seen, print the table; `make cause-table`.

What was measured before, with the same code, is not measured again: results lie in the file of `--results`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from causes.catalogue import MISTAKES
from causes.measure import Job, Seen, one_thread, run
from causes.table import DTYPES, render


def main(argv: Sequence[str]) -> int:
    """Measure what `argv` names."""
    parser = argparse.ArgumentParser(prog="python -m causes", description="What the first line says.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="ports, families or mistakes; all without any"
    )
    parser.add_argument("--results", type=Path, default=Path(".cause-table.jsonl"), help="kept between runs")
    parser.add_argument("--out", type=Path, help="write the page here instead of printing it")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="of the path; both by default")
    parser.add_argument("--held-out", action="store_true", help="only mistakes that are held out")
    parser.add_argument("--again", action="store_true", help="measure again what was measured before")
    options = parser.parse_args(argv)
    wanted = [
        (number, dtype)
        for dtype in options.dtype or DTYPES
        for number, each in enumerate(MISTAKES)
        if each.held_out >= options.held_out
        if not options.names or {each.port, each.family, each.name, each.key}.intersection(options.names)
    ]
    known = {} if options.again else _known(options.results)
    todo = [job for job in wanted if (MISTAKES[job[0]].key, job[1]) not in known]
    with options.results.open("w" if options.again else "a", encoding="utf-8") as kept:
        for seen in _measured(todo, options.jobs):
            kept.write(json.dumps(seen.as_json()) + "\n")
            kept.flush()
            known[seen.key, seen.dtype] = seen
            print(_line(seen), file=sys.stderr)
    page = render([known[MISTAKES[number].key, dtype] for number, dtype in wanted])
    if options.out is None:
        print(page, end="")
    else:
        options.out.write_text(page, encoding="utf-8")
    return 0


def _known(results: Path) -> dict[tuple[str, str], Seen]:
    """Return what was measured before; a line that was cut off is left out."""
    known = {}
    for line in results.read_text(encoding="utf-8").splitlines() if results.exists() else ():
        try:
            seen = Seen.from_json(json.loads(line))
        except (ValueError, TypeError):
            continue
        known[seen.key, seen.dtype] = seen
    return known


def _measured(jobs: Sequence[Job], processes: int) -> Iterator[Seen]:
    if processes <= 1:
        one_thread()
        yield from map(run, jobs)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        yield from pool.map(run, jobs)


def _line(seen: Seen) -> str:
    named = zip("nsop", (seen.noticed, seen.stage, seen.node, seen.path), strict=True)
    marks = "".join(letter if on else "-" for letter, on in named)
    state = marks if seen.changed else "same"
    said = seen.explanation or seen.message[:120]
    return f"{state} {seen.key} {seen.dtype}: {seen.expected} | {seen.headline} {seen.rule} {said}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
