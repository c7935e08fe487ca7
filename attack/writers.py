"""Attacks on writers: kills, forks, refusing disks, threads; judged by the independent history."""

from __future__ import annotations

import random
from pathlib import Path

from attack.history import compare
from attack.outcome import Outcome
from attack.recording import PATHS, Plan, record, recorded_by_child
from tracing.errors import SpecwbError
from tracing.gaps import unrecorded_steps
from tracing.integrity import verify_run
from tracing.reader import open_run


def kill(index: int, seed: int, folder: Path) -> Outcome:
    """Kill a recorder at any moment: one thread or three, with forks, on a disk that refuses at times."""
    chance = random.Random(f"{seed} kill {index}")
    threads = chance.choice((1, 1, 1, 3))
    plan = Plan(
        steps=chance.choice((20, 80, 200)),
        threads=threads,
        paths=chance.choice((1, 2)) if threads > 1 else 1,
        seal_every=chance.choice((0, 5, 9)),
        fork_every=chance.choice((0, 0, 11)) if threads == 1 else 0,
        refuse=chance.choice((0.0, 0.0, 0.3)),
        durability=chance.choice(("process", "process", "process", "power")),
        seed=index,
    )
    most = plan.steps * plan.threads
    acks, was_killed = recorded_by_child(
        folder / "run", plan, chance.randrange(0, most), chance.choice((0.0, 0.001)) * chance.random()
    )
    return _judged(folder, plan, acks, was_killed=was_killed)


def fork(index: int, seed: int, folder: Path) -> Outcome:
    """Fork children that leave in every way; the parent's run is whole at the end."""
    chance = random.Random(f"{seed} fork {index}")
    plan = Plan(
        steps=chance.randrange(20, 150),
        fork_every=chance.choice((3, 10, 40)),
        seal_every=chance.choice((0, 7)),
        on_error=chance.choice(("raise", "warn")),
        seed=index,
    )
    acks, was_killed = recorded_by_child(folder / "run", plan, -1, 0.0)
    outcome = _judged(folder, plan, acks, was_killed=False)
    if was_killed:
        outcome.say("internal", "the recorder failed")
    return outcome


def full_disk(index: int, seed: int, folder: Path) -> Outcome:
    """Record on a disk that refuses for a while; what is not there is declared."""
    chance = random.Random(f"{seed} disk {index}")
    plan = Plan(
        steps=chance.choice((100, 300, 700)),
        refuse=chance.choice((0.1, 0.5, 0.9)),
        seal_every=chance.choice((0, 7)),
        on_error=chance.choice(("raise", "warn")),
        seed=index,
    )
    acks: list[bytes] = []
    lost = record(folder / "run", plan, acks.append)
    outcome = _judged(folder, plan, b"".join(acks), was_killed=False)
    path = open_run(folder / "run").path("fused")
    declared = sum(unrecorded_steps(path).values())
    if declared != lost or path.num_steps + declared != plan.steps:
        outcome.say("unnoticed", f"{path.num_steps} of {plan.steps} steps, {declared} are declared lost")
    return outcome


def thread(index: int, seed: int, folder: Path) -> Outcome:
    """Record two paths from several threads at once, and kill them."""
    chance = random.Random(f"{seed} thread {index}")
    plan = Plan(
        steps=chance.randrange(10, 60),
        threads=chance.randrange(2, 6),
        paths=2,
        seal_every=chance.choice((0, 5)),
        seed=index,
    )
    kill_after = chance.choice((-1, chance.randrange(0, plan.steps * plan.threads)))
    acks, was_killed = recorded_by_child(folder / "run", plan, kill_after, 0.0)
    outcome = _judged(folder, plan, acks, was_killed=was_killed)
    if outcome.notes:
        return outcome
    try:
        run = open_run(folder / "run")
    except SpecwbError:
        return outcome
    for name in run.path_names:
        used = {
            token
            for tokens in run.path(name).columns(["token_ids"]).column(0).to_pylist()
            for token in tokens
        }
        if not used <= run.vocabulary.keys():
            outcome.say("lost", f"{name} uses tokens that the vocabulary lacks")
    return outcome


def _judged(folder: Path, plan: Plan, acks: bytes, *, was_killed: bool) -> Outcome:
    """Hold the files against the history, then the product's reading of them against both."""
    outcome = Outcome()
    run_folder, paths = folder / "run", list(PATHS[: plan.paths])
    lost, wrong, steps = compare(run_folder, paths, acks)
    for sentence in lost:
        outcome.say("lost", sentence)
    for sentence in wrong:
        outcome.say("unnoticed", sentence)
    try:
        health = verify_run(run_folder)
        run = open_run(run_folder)
        wanted = {"truncated", "torn"} if was_killed else {"complete"}
        if health.state not in wanted and (acks or not was_killed):
            sentences = [f"{file.name}: {file.message}" for file in health.files if file.message]
            kind = "unnoticed" if health.state == "complete" else "alarms"
            if not (was_killed and health.status == "complete"):  # it may end just before the kill
                outcome.say(kind, f"{health.state} ({'; '.join(sentences)})")
        for name in run.path_names:
            got = {(key[0], key[1], key[2]) for key in run.path(name).keys().tolist()}
            if got != steps.get(name, set()):
                outcome.say(
                    "unnoticed", f"{name}: read {len(got)} steps, its files hold {len(steps.get(name, ()))}"
                )
    except SpecwbError as problem:
        if acks:
            outcome.say("lost", f"the run cannot be opened: {problem}")
    except Exception as problem:  # noqa: BLE001 what is counted as exit code 70
        outcome.say("internal", f"{type(problem).__name__}: {problem}")
    return outcome
