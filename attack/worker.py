"""`python -m attack.worker PART SEED START STOP FOLDER`: some attacks in a process with bounded memory.

Prints the tally as one line of JSON, or of what was done before the process was stopped.
"""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Final

import pyarrow as pa

from attack.outcome import Outcome, Tally
from attack.parts import Part, chosen

BOUND: Final = 512 << 20
"""Bytes that one attack may take more than the process had before."""
HARD: Final = 3 << 30
"""Bytes of address space beyond which the system refuses."""


def main(argv: list[str]) -> int:
    """Run the attacks that `argv` names."""
    name, seed, start, stop, place = argv
    (part,) = chosen([name])
    folder = Path(place)
    pa.set_memory_pool(pa.system_memory_pool())
    logging.getLogger("specwb.trace").addHandler(logging.NullHandler())
    logging.getLogger("specwb.trace").propagate = False
    _warm(part, int(seed), folder)
    _limit()
    tally = Tally()
    for index in range(int(start), int(stop)):
        attack(part, index, int(seed), folder, tally)
    print(json.dumps(tally.as_json()), flush=True)
    return 0


def attack(part: Part, index: int, seed: int, folder: Path, tally: Tally) -> None:
    """Make one attack and add what became of it."""
    own = folder / "cases" / "own"
    own.mkdir(parents=True, exist_ok=True)
    before, began = _peak(), time.perf_counter()
    try:
        outcome = part.case(index, seed, own)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # noqa: BLE001 also what a library in another language throws
        outcome = Outcome()
        outcome.say("internal", f"{type(problem).__name__}: {str(problem)[:300]}")
    seconds = time.perf_counter() - began
    tally.take(outcome, seconds, is_over=_peak() - before > BOUND, at=f"{part.name} {index}")
    if any(own.iterdir()):
        shutil.rmtree(own, ignore_errors=True)


def _warm(part: Part, seed: int, folder: Path) -> None:
    """Load what the attacks need before memory counts."""
    own = folder / "cases" / "warm"
    own.mkdir(parents=True)
    with contextlib.suppress(Exception):
        part.case(0, seed, own)
    shutil.rmtree(own, ignore_errors=True)


def _limit() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + HARD, used + HARD))


def _peak() -> int:
    """Return the most memory that this process, or a child of it, has ever held, in bytes."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return 1024 * max(usage.ru_maxrss for usage in usages)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
