"""`python -m attack.campaign`: a campaign whose workers and driver are killed, against a serial one.

A thousand cases of at most two steps over four axes, twenty faults planted in most of them, on two workers.
Five workers are killed at random moments and the driver once; then the same plan runs in one process. Every
case must be accounted for once, and verdict, counts and groups must be those of the serial run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from workbench.campaign.ledger import RESULTS, outcomes

OVER: Final = (
    "tree=8/2/3,6/1/2,12/2/4,dtype=float32,bfloat16,kv_layout=contiguous,paged,"
    "commit_mode=fast_reorder,full_reorder"
)
COMMAND: Final = (sys.executable, "-m", "specwb", "campaign")
SAME: Final = (
    *("verdict", "verdicts", "missing", "problems", "steps", "emitted"),
    *("faults", "groups", "coverage"),
)
"""What must not depend on who ran a case, or how often it was begun; of groups all but the traces."""


def main(argv: Sequence[str]) -> int:
    """Run both campaigns and compare them; 0 where they agree and nothing is missing."""
    parser = argparse.ArgumentParser(prog="python -m attack.campaign", description=__doc__)
    parser.add_argument("folder", type=Path, help="new or empty; it keeps both campaigns")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--faults", nargs="*", default=None, help="names; default twenty of the catalogue")
    parser.add_argument("--on", default="ray")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="a tiny random pair in place of the shipped one")
    options = parser.parse_args(argv)
    names = options.faults if options.faults is not None else planted_faults(20)
    pair = tiny_pair(options.folder / "pair") if options.tiny else []
    for name in ("killed", "serial"):
        plan = ["plan", "synthetic:1000:8,24,64", "--over", OVER, "--cases", str(options.cases)]
        plan += [word for fault in names for word in ("--fault", fault)]
        specwb(*plan, *pair, "--max-new-tokens", "5", "--out", str(options.folder / name))
    killed = run_and_kill(options.folder / "killed", options.on, options.kills, random.Random(options.seed))
    specwb("run", str(options.folder / "serial"), "--on", "shard=0/1", "--threads", "1")
    merged = [report(options.folder / name) for name in ("killed", "serial")]
    differing = [name for name in SAME if _plain(name, merged[0][name]) != _plain(name, merged[1][name])]
    retried = sum(map(len, merged[0]["retried"].values()))
    told = f"{killed} workers and the driver killed, {retried} attempts had begun"
    first = merged[0]
    print(f"{options.cases} cases, {len(names)} faults: {told}")
    print(f"verdict {first['verdict']}, missing {first['missing']}, faults {first['faults']}")
    mixed = [group["cause"][0] for group in first["groups"] if len(group["faults"]) > 1]
    print(f"causes that several faults have: {', '.join(mixed) or 'none'}")
    print(f"{len(first['groups'])} causes; the serial run differs in: {', '.join(differing) or 'nothing'}")
    return 1 if differing or merged[0]["missing"] else 0


def planted_faults(count: int) -> list[str]:
    """Return faults of our path that need no special run, spread over the catalogue."""
    from workbench.npu.bootstrap import bootstrap

    bootstrap("auto")
    from workbench.faults.catalogue import chosen

    able = []
    for fault in chosen([]):
        placement = fault.place()
        if fault.need == "plain" and not (placement.rows or placement.files or placement.runner):
            able.append(fault.name)
    return able[:: max(1, len(able) // count)][:count]


def tiny_pair(folder: Path) -> list[str]:
    """Write a tiny random pair; return the options that name it."""
    from tests.cli.pair_dirs import write_pair

    folder.mkdir(parents=True)
    teacher, drafter = write_pair(folder)
    return ["--model", str(teacher), "--draft", str(drafter)]


def run_and_kill(folder: Path, on: str, kills: int, draws: random.Random) -> int:
    """Run a plan, kill workers at random moments and the driver once, and go on until it is done."""
    killed, driver_killed = 0, False
    while True:
        words = ["run", str(folder), "--on", on, "--workers", "2", "--threads", "1"]
        driver = subprocess.Popen([*COMMAND, *words], stdout=subprocess.DEVNULL)
        while driver.poll() is None:
            time.sleep(draws.uniform(4, 20))
            pids = worker_pids(folder)
            if killed < kills and pids:
                os.kill(draws.choice(pids), signal.SIGKILL)
                killed += 1
            elif not driver_killed and killed >= kills // 2:
                driver.kill()
                driver_killed = True
        if driver.wait() != -signal.SIGKILL:
            return killed


def worker_pids(folder: Path) -> list[int]:
    """Return the living processes that have a ledger: their number stands in its name."""
    pids = [int(path.stem.split("-")[-2]) for path in (folder / RESULTS).glob("w*.jsonl")]
    return [pid for pid in pids if _is_alive(pid)]


def _is_alive(pid: int) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"python" in line or b"ray" in line


def report(folder: Path) -> dict[str, Any]:
    """Return the merged campaign as plain data."""
    merge = [*COMMAND, "merge", str(folder), "--format", "json"]
    done = subprocess.run(merge, stdout=subprocess.PIPE, check=False)
    told: dict[str, Any] = json.loads(done.stdout)
    told["outcomes"] = sum(1 for _ in outcomes(folder))
    return told


def specwb(*words: str) -> None:
    """Run a command of the campaign; findings are no failure of it."""
    done = subprocess.run([*COMMAND, *words], stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in {0, 1, 3, 4}:
        raise SystemExit(done.returncode)


def _plain(name: str, value: Any) -> Any:
    """Leave out of groups what says where a trace is."""
    return [{key: each[key] for key in each if key != "run"} for each in value] if name == "groups" else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
