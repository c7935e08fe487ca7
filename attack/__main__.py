"""`python -m attack [PART...]`: attack writers and readers and print the table; `make attack` runs it.

Exit codes: 0 nothing lost, unnoticed or out of bounds, 1 something was, 2 usage.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from attack.outcome import Tally
from attack.parts import PARTS, chosen
from attack.pool import run
from tracing.errors import SpecwbError

HEAD = (
    "attack",
    "tried",
    "lost",
    "unnoticed",
    "false alarms",
    "exit 70",
    "over memory",
    "hung",
    "longest",
    "time",
)


def main(argv: Sequence[str]) -> int:
    """Make the attacks that `argv` names and print the table."""
    parser = argparse.ArgumentParser(prog="python -m attack", description="Attacks on writers and readers.")
    parser.add_argument("names", nargs="*", metavar="PART", help="parts; all without any")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number; 1 takes hours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument(
        "--state", type=Path, help="file of what is done; a run that finds it goes on from there"
    )
    options = parser.parse_args(argv)
    state = options.state or Path(f"attack-{options.seed}-{options.scale:g}.jsonl")
    try:
        parts = chosen(options.names)
        found = run(parts, options.scale, options.seed, state=state, jobs=options.jobs, say=_progress)
    except SpecwbError as problem:
        print(f"attack: {problem}", file=sys.stderr)
        return problem.exit_code
    print("\n".join(table(found)))
    for tally in found.values():
        for note in tally.notes:
            print(f"attack: {note}", file=sys.stderr)
    return 0 if all(tally.is_clean for tally in found.values()) else 1


def table(found: Mapping[str, Tally]) -> list[str]:
    """Return the lines of the table, in Markdown."""
    about = {part.name: part.about for part in PARTS}
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    whole = Tally()
    for name, tally in found.items():
        lines.append(_row(f"{name}: {about[name]}", tally))
        whole.add(tally)
    return [*lines, _row("all", whole)]


def _row(name: str, tally: Tally) -> str:
    counts = (
        tally.tried,
        tally.lost,
        tally.unnoticed,
        tally.alarms,
        tally.internal,
        tally.over_memory,
        tally.hung,
    )
    cells = [
        name,
        *(f"{count:,}" for count in counts),
        f"{tally.longest:.2f} s",
        f"{tally.seconds / 60:.1f} min",
    ]
    return f"| {' | '.join(cells)} |"


def _progress(sentence: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
