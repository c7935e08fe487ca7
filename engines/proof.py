"""Runs jobs one after the other and says of each whether its text and recording are as they should be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from engines.installed import recording
from engines.scenarios import ENVIRONMENT, MAX_TOKENS, PREFIX, PREFIX_TOKENS, PROMPTS, Job
from tracing.reader import open_run
from workbench.adapters.vllm.join import join
from workbench.judge.recorded.check import check_run

JOB_SECONDS: Final = 600
Texts = dict[str, list[list[int]]]


def proven(jobs: Iterable[Job], python: Path, folder: Path, pair: tuple[Path, Path]) -> bool:
    """Run the jobs, print a line for each, and return whether all were as expected.

    Args:
        jobs: The first is plain decoding.
        python: Interpreter of the engine's environment.
        folder: An empty one, for the runs.
        pair: Teacher and drafter as the engine loads them.
    """
    plain: list[list[int]] | None = None
    passed = True
    for job in jobs:
        print(f"{job.name} ...", file=sys.stderr, flush=True)
        try:
            texts = run(job, python, folder, job.engine_options(*map(str, pair)))
        except EngineFailedError as problem:
            passed = False
            print(f"failed   {job.name}: {problem}", flush=True)
            continue
        plain = texts["greedy"] if plain is None else plain
        wrong = [*greedy_differences(job, texts, plain), *recorded_findings(folder / job.name)]
        passed = passed and not wrong
        outcome = "failed  " if wrong else "passed  "
        print(f"{outcome} {job.name}: {'; '.join(wrong) or 'text equal, check ok'}", flush=True)
    return passed


class EngineFailedError(Exception):
    """The engine did not end a job; the message holds its last line."""


def run(job: Job, python: Path, folder: Path, options: dict[str, Any]) -> Texts:
    """Run one job in a process of the engine.

    Raises:
        EngineFailedError: It ended with an error or took too long.
    """
    file = folder / f"{job.name}.json"
    facts = {"options": options, "runs": job.runs, "prompts": PROMPTS, "max_tokens": MAX_TOKENS,
             "prefix": PREFIX, "prefix_tokens": PREFIX_TOKENS, "prepared": job.prepared}  # fmt: skip
    file.write_text(json.dumps(facts))
    command = [str(python), str(Path(__file__).with_name("inside.py")), str(file)]
    surroundings = {**os.environ, **ENVIRONMENT, **job.environment, **recording(folder, folder / job.name)}
    try:
        done = subprocess.run(
            command, env=surroundings, capture_output=True, text=True, timeout=JOB_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise EngineFailedError(str(problem)) from problem
    if done.returncode:
        raise EngineFailedError(f"exit {done.returncode}: {(done.stderr.splitlines() or ['no output'])[-1]}")
    texts: Texts = json.loads(next(line for line in reversed(done.stdout.splitlines()) if line[:1] == "{"))
    return texts


def recorded_findings(run_folder: Path) -> list[str]:
    """Return what the recording of a job was found guilty of, and whether it is a recording of all of it."""
    join(run_folder)
    checked = check_run(run_folder)
    found = [f"{each.rule} at {each.moment}: {each.message}" for each in checked.findings]
    status = open_run(run_folder).status
    cut = [] if status == "complete" else [f"the recording is {status}"]
    return [*cut, *found] if checked.verdict == "ok" or found else [*cut, f"the run is {checked.verdict}"]


def greedy_differences(job: Job, texts: Texts, plain: list[list[int]]) -> list[str]:
    """Return a sentence for each greedy request whose text is not that of plain decoding."""
    return [
        f"{name}: request {number} differs from token {first_difference(ids, plain[number])}"
        for name, rows in texts.items()
        for number, ids in enumerate(rows)
        if job.runs[name][number] == 0 and ids != plain[number]
    ]


def first_difference(ids: list[int], others: list[int]) -> int:
    """Return the first place at which two texts differ; the shorter one's length where none does."""
    pairs = zip(ids, others, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ids), len(others)))
