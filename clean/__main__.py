"""`python -m clean`: random legal steps and clean runs, or all that ships; prints a table and findings."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from clean.legal import check_legal_steps
from clean.runs import Seen, clean_run

CHUNK = 5_000


def main(argv: Sequence[str]) -> int:
    """Run what `argv` asks for; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m clean", description="Clean inputs give no finding.")
    parser.add_argument("--steps", type=int, default=100_000, help="random legal steps under all rules")
    parser.add_argument("--runs", type=int, default=1_000, help="clean runs, recorded and checked")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--shipped", action="store_true", help="shipped drafters on shipped prompts instead")
    parser.add_argument("--max-new-tokens", type=int, default=24, help="of each turn of --shipped")
    options = parser.parse_args(argv)
    if options.shipped:
        return _shipped(options.jobs, options.max_new_tokens)
    seeds = range(options.first_seed, options.first_seed + options.runs)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        chunks = [min(CHUNK, options.steps - done) for done in range(0, options.steps, CHUNK)]
        numbers = [options.first_seed + 1000 * number for number in range(len(chunks))]
        legal = list(pool.map(check_legal_steps, numbers, chunks))
        runs = list(pool.map(clean_run, seeds, chunksize=4))
    alarms = [alarm for _, found in legal for alarm in found] + [
        alarm for seen in runs for alarm in seen.alarms
    ]
    print("\n".join(_table(sum(count for count, _ in legal), runs, len(alarms))))
    for alarm in alarms:
        print(alarm, file=sys.stderr)
    return 1 if alarms else 0


def _shipped(processes: int, max_new_tokens: int) -> int:
    """Run every drafter that ships on every prompt that ships; 1 where something was found."""
    from clean.shipped import shipped_jobs, shipped_run

    num_alarms = 0
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for seen in pool.map(shipped_run, shipped_jobs(max_new_tokens)):
            num_alarms += len(seen.alarms)
            print(f"{seen.about}: {seen.num_steps} steps, {len(seen.alarms)} findings", flush=True)
            for alarm in seen.alarms:
                print(alarm, file=sys.stderr)
    return 1 if num_alarms else 0


def _table(num_legal: int, runs: Sequence[Seen], num_alarms: int) -> list[str]:
    by_kind: Counter[str] = Counter()
    for seen in runs:
        by_kind.update(dict.fromkeys(seen.about.split(), seen.num_steps))
    num_steps = sum(seen.num_steps for seen in runs)
    lines = [f"{num_legal:,} random legal steps; {len(runs):,} clean runs of {num_steps:,} steps"]
    lines += [f"  {kind}: {count:,} steps" for kind, count in sorted(by_kind.items())]
    return [*lines, f"findings: {num_alarms}"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
