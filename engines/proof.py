"""Runs jobs one after the other and says of each whether its text and recording are as they should be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from engines.installed import recording
from engines.pool import side_by_side
from engines.scenarios import ENVIRONMENT, MAX_TOKENS, PREFIX, PREFIX_TOKENS, PROMPTS, Job
from tracing.reader import open_run
from workbench.adapters.vllm.join import join
from workbench.adapters.vllm.part import SUFFIX
from workbench.adapters.vllm.settings import PARTS
from workbench.judge.recorded.check import check_run

JOB_SECONDS: Final = 600
Texts = dict[str, list[list[int]]]


def proven(jobs: Iterable[Job], python: Path, folder: Path, pair: tuple[Path, Path]) -> list[str]:
    """Run the jobs, print a line for each, and return the names of those that were not as expected.

    Args:
        jobs: The first is plain decoding.
        python: Interpreter of the engine's environment.
        folder: An empty one, for the runs.
        pair: Teacher and drafter as the engine loads them.
    """

    def outcome(job: Job) -> Texts | EngineFailedError:
        try:
            return run(job, python, folder, job.engine_options(*map(str, pair)))
        except EngineFailedError as problem:
            return problem

    plain: list[list[int]] | None = None
    failed = []
    for job, texts in side_by_side(outcome, jobs):
        if isinstance(texts, EngineFailedError):
            wrong = [str(texts)]
        else:
            plain = texts["greedy"] if plain is None else plain
            wrong = [
                *greedy_differences(job, texts, plain),
                *recorded_findings(folder / job.name, job.verdict),
            ]
            wrong += unnoticed_loss(folder / job.name, job.loses) if job.loses else []
        failed += [job.name] if wrong else []
        lost = f", inconclusive without {job.loses}" if job.loses else ""
        good = f"text equal, check {job.verdict}{lost}"
        print(f"{'failed  ' if wrong else 'passed  '} {job.name}: {'; '.join(wrong) or good}", flush=True)
    return failed


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
    surroundings = {**os.environ, **ENVIRONMENT, **recording(folder, folder / job.name), **job.environment}
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


def recorded_findings(run_folder: Path, verdict: str = "ok") -> list[str]:
    """Return what the recording of a job was found guilty of, and whether it is a recording of all of it."""
    join(run_folder)
    checked = check_run(run_folder)
    found = [f"{each.rule} at {each.moment}: {each.message}" for each in checked.findings]
    status = open_run(run_folder).status
    cut = [] if status == "complete" else [f"the recording is {status}"]
    other = [] if checked.verdict == verdict else [f"the run is {checked.verdict}, not {verdict}"]
    return [*cut, *found, *(other if not found else [])]


def unnoticed_loss(run_folder: Path, lost: str) -> list[str]:
    """Return what is wrong with the verdict on a recording of which a process's file is taken away."""
    copy = run_folder.with_name(f"{run_folder.name}-lost")
    for file in sorted((run_folder / PARTS).glob(f"*{SUFFIX}")):
        if not file.match(lost):
            (copy / PARTS).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy / PARTS)
    if len(list((copy / PARTS).iterdir())) == len(list((run_folder / PARTS).glob(f"*{SUFFIX}"))):
        return [f"there is no file {lost} to take away"]
    return [f"without {lost}: {each}" for each in recorded_findings(copy, "inconclusive")]


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
