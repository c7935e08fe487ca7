"""The parts of an attack: what is tried, how often at the full scale, and how much at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attack import checkpoints, damage, fuzz, writers
from attack.outcome import Outcome
from tracing.errors import UsageError

Case = Callable[[int, int, Path], Outcome]


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of attack.

    Attributes:
        count: Attacks at the full scale.
        chunk: Attacks that one process makes.
        case: `(index, seed, folder)` to what became of it; the folder is its own.
        about: What is tried, for the table.
    """

    name: str
    count: int
    chunk: int
    case: Case
    about: str


PARTS: Final = (
    Part("kills", 1000, 100, writers.kill, "recorders killed at any moment; threads, forks, refusing disks"),
    Part("forks", 300, 50, writers.fork, "recorders that fork children, which leave in every way"),
    Part("disks", 300, 50, writers.full_disk, "recorders on a disk that refuses for a while"),
    Part("threads", 300, 50, writers.thread, "two paths recorded from several threads, some killed"),
    Part("flips", 10_000, 1000, damage.flip, "single bits of closed and of killed runs"),
    Part(
        "mutations", 1000, 100, damage.mutate, "files, frames, records exchanged between runs, paths, states"
    ),
    Part("journals", 340_000, 20_000, fuzz.journal, "journals, damaged or forged under right checksums"),
    Part("findings", 300_000, 20_000, fuzz.findings, "findings, the same"),
    Part("manifests", 100_000, 10_000, fuzz.manifest, "manifests, the same"),
    Part("streams", 60_000, 5_000, fuzz.stream, "Arrow streams, the same"),
    Part(
        "folders",
        10_000,
        1000,
        fuzz.folder_of_forgeries,
        "whole runs with one damaged file, opened and verified",
    ),
    Part("configs", 80_000, 10_000, checkpoints.config, "config.json of teachers and drafters"),
    Part("headers", 100_000, 20_000, checkpoints.safetensors, "headers of safetensors files"),
    Part("tokenizers", 10_000, 1000, checkpoints.tokenizer, "files of tokenizers"),
)


def chosen(names: Iterable[str]) -> tuple[Part, ...]:
    """Return the parts of these names, all without any.

    Raises:
        UsageError: There is no such part.
    """
    wanted, known = list(names), [part.name for part in PARTS]
    for name in wanted:
        if name not in known:
            raise UsageError(f"a part should be one of {', '.join(known)}; got {name!r}")
    return tuple(part for part in PARTS if not wanted or part.name in wanted)
