"""Attacks on files: flipped bits, and files, frames, records, lines that are exchanged, moved, left out."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final

from attack.outcome import Outcome
from attack.runs import PATHS, Content, content_of, health_of, is_part, is_worse, make_runs
from tracing import frames, journal_frames
from tracing.copying import repair_run
from tracing.errors import SpecwbError
from tracing.integrity import RunHealth

BASES: Final = ("a-closed", "a-2", "a-5", "a-8")
SOURCES: Final = (*BASES, "a-0", "a-3", "a-4", "a-7", "b-closed", "b-4", "b-8")
COMMANDS: Final = (["trace", "verify"], ["trace", "info"], ["check"], ["check", "--format", "json"])


class Bench:
    """The runs under attack, made once a process, and what an unharmed one reads as."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_runs(folder)
        self.health: dict[str, RunHealth] = {}
        self.content: dict[str, Content] = {}
        for name in BASES:
            health = health_of(folder / name)
            assert health is not None
            self.health[name], self.content[name] = health, content_of(folder / name)
        self.wholes = (self.content["a-8"], content_of(folder / "b-8"))

    def belongs(self, found: Content) -> bool:
        """Whether all that is read is of one run: a folder with the manifest of the other one is that run."""
        return any(is_part(found, whole) for whole in self.wholes)

    def copy(self, name: str, target: Path) -> Path:
        """Copy one of the runs."""
        shutil.copytree(self.folder / name, target)
        return target


@lru_cache(maxsize=1)
def bench(folder: Path) -> Bench:
    """Return the bench beside a case's folder."""
    place = folder.parent / f"bench-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return Bench(place)


def flip(index: int, seed: int, folder: Path) -> Outcome:
    """Flip one bit of one file."""
    chance = random.Random(f"{seed} flip {index}")
    runs, outcome = bench(folder.parent), Outcome()
    base = chance.choice(BASES)
    run = runs.folder / base
    path = chance.choice(sorted(file for file in run.rglob("*") if file.is_file()))
    whole = path.read_bytes()
    changed = bytearray(whole)
    place = chance.randrange(len(whole))
    changed[place] ^= 1 << chance.randrange(8)
    path.write_bytes(changed)
    try:
        _judge(outcome, runs, base, run, f"byte {place} of {path.name} of {base}", may_be_harmless=False)
    finally:
        path.write_bytes(whole)
    return outcome


def mutate(index: int, seed: int, folder: Path) -> Outcome:
    """Change the structure of a run in one way or two, repair it, and ask the commands about it."""
    chance = random.Random(f"{seed} mutate {index}")
    runs, outcome = bench(folder.parent), Outcome()
    base = chance.choice(BASES)
    run = runs.copy(base, folder / "run")
    said = []
    for _ in range(chance.choice((1, 1, 2))):
        way = chance.choice(WAYS)
        said.append(f"{way.__name__} {way(run, runs, chance)}")
    sentence = f"{base}: {', '.join(said)}"
    _judge(outcome, runs, base, run, sentence, may_be_harmless=True)
    _repair(outcome, runs, run, sentence)
    _command(outcome, [*chance.choice(COMMANDS), str(run)], sentence)
    return outcome


def _judge(
    outcome: Outcome, runs: Bench, base: str, run: Path, sentence: str, *, may_be_harmless: bool
) -> None:
    """Count what changed without a word, and what is read though it was never recorded."""
    try:
        health = health_of(run)
        noticed = is_worse(health, runs.health[base])
        found = content_of(run) if health is not None else {}
    except SpecwbError:
        return
    except Exception as problem:  # noqa: BLE001 what is counted as exit code 70
        outcome.say("internal", f"{sentence}: {type(problem).__name__}: {problem}")
        return
    before = runs.content[base]
    if not runs.belongs(found):
        outcome.say("unnoticed", f"{sentence}: reads what was never recorded there")
    elif not noticed and not (
        may_be_harmless and (found == before or _is_of_another_kill(base, found, before))
    ):
        outcome.say("unnoticed", sentence)


def _is_of_another_kill(base: str, found: Content, before: Content) -> bool:
    """Whether a killed run reads as if it was killed earlier, or at another moment for its findings.

    A tail that is cut between two records does not show, nor does a newer file of findings.
    """
    ordered = [name for name in found if name != "tokens"]
    is_earlier = [before[name][: len(found[name])] == found[name] for name in ordered if name != "findings"]
    most = min(len(found["findings"]), len(before["findings"]))
    is_same = found["findings"][:most] == before["findings"][:most]
    return base != "a-closed" and all(is_earlier) and is_same


def _repair(outcome: Outcome, runs: Bench, run: Path, sentence: str) -> None:
    try:
        repair_run(run, run.with_name("repaired"))
        found = content_of(run.with_name("repaired"))
    except SpecwbError:
        return
    except Exception as problem:  # noqa: BLE001 what is counted as exit code 70
        outcome.say("internal", f"repair: {sentence}: {type(problem).__name__}: {problem}")
        return
    if not runs.belongs(found):
        outcome.say("unnoticed", f"{sentence}: repaired with what was never recorded there")


def _command(outcome: Outcome, argv: list[str], sentence: str) -> None:
    from workbench.cli.run import run_command

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        code = run_command(argv)
    if code == 70:
        outcome.say("internal", f"{' '.join(argv[:2])}: {sentence}: {said.getvalue()[-200:]}")


def _files(run: Path) -> list[Path]:
    return sorted(file for file in run.rglob("*") if file.is_file())


def exchange(run: Path, runs: Bench, chance: random.Random) -> str:
    """Take one file, or several, from another run or another state of this one."""
    source = runs.folder / chance.choice(SOURCES)
    names = [file.relative_to(source) for file in _files(source)]
    taken = chance.sample(names, min(len(names), chance.choice((1, 1, 1, 2, 3))))
    for name in taken:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).unlink(missing_ok=True)
        (os.link if chance.random() < 0.2 else shutil.copyfile)(source / name, run / name)
    return f"{', '.join(map(str, taken))} of {source.name}"


def swap_paths(run: Path, _runs: Bench, chance: random.Random) -> str:
    """Let the files of the two paths change places."""
    ending = chance.choice(("arrows", "journal"))
    first, second = (run / f"{name}.{ending}" for name in PATHS)
    if first.exists() and second.exists():
        first.rename(run / "kept")
        second.rename(first)
        (run / "kept").rename(second)
    return ending


def rename(run: Path, _runs: Bench, chance: random.Random) -> str:
    """Give a file another name, or a second one."""
    path = chance.choice(_files(run))
    target = path.with_name(chance.choice(("third", "fused", "vocabulary")) + path.suffix)
    if chance.random() < 0.5:
        shutil.copyfile(path, path.with_name("copy" + path.suffix))
    elif not target.exists():
        path.rename(target)
    return path.name


def remove(run: Path, _runs: Bench, chance: random.Random) -> str:
    """Delete a file."""
    path = chance.choice(_files(run))
    path.unlink()
    return path.name


def cut(run: Path, _runs: Bench, chance: random.Random) -> str:
    """Cut a file off anywhere."""
    path = chance.choice(_files(run))
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data) + 1)])
    return path.name


def continue_with(run: Path, runs: Bench, chance: random.Random) -> str:
    """Cut a file between two of its parts and go on with those of another one."""
    path = chance.choice([file for file in _files(run) if file.suffix in {".arrows", ".journal", ".jsonl"}])
    source = runs.folder / chance.choice(SOURCES)
    others = [file for file in _files(source) if file.suffix == path.suffix]
    own, other = parts_of(path), parts_of(chance.choice(others)) if others else []
    at, of = chance.randrange(len(own) + 1), chance.randrange(len(other) + 1)
    path.write_bytes(b"".join([*own[:at], *other[of:]]))
    return f"{path.name} with {source.name}"


def shuffle(run: Path, _runs: Bench, chance: random.Random) -> str:
    """Leave out, double or move a frame, record or line."""
    path = chance.choice([file for file in _files(run) if file.suffix in {".arrows", ".journal", ".jsonl"}])
    parts = parts_of(path)
    if parts:
        at, way = chance.randrange(len(parts)), chance.randrange(3)
        part = parts.pop(at)
        if way:
            parts.insert(chance.randrange(len(parts) + 1), part)
        if way == 2:
            parts.insert(at, part)
    path.write_bytes(b"".join(parts))
    return path.name


def parts_of(path: Path) -> list[bytes]:
    """Return the frames, records or lines of a file, and what is left after the last whole one."""
    data = path.read_bytes()
    if path.suffix == ".jsonl":
        return data.splitlines(keepends=True)
    places = [0]
    with contextlib.suppress(SpecwbError):
        if path.suffix == ".journal":
            places += [stop for _, stop in journal_frames.scan(memoryview(data))]
        else:
            while frame := frames.scan_frame(memoryview(data), places[-1]):
                places.append(frame.stop)
    places.append(len(data))
    return [data[start:stop] for start, stop in pairwise(places) if start < stop]


WAYS: Final[tuple[Callable[[Path, Bench, random.Random], str], ...]] = (
    exchange,
    exchange,
    exchange,
    swap_paths,
    rename,
    remove,
    cut,
    continue_with,
    continue_with,
    shuffle,
    shuffle,
)
