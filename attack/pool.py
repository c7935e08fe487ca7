"""Runs chunks of attacks in worker processes and keeps what each found: a run can be resumed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attack.outcome import Tally, tally_of
from attack.parts import Part

PATIENCE: Final = 3600
"""Seconds after which a chunk is taken to hang."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Attacks `start` to `stop` of a part."""

    part: Part
    seed: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Name of what is kept of it."""
        return f"{self.part.name} {self.seed} {self.start} {self.stop}"


def chunks(parts: Sequence[Part], scale: float, seed: int) -> Iterator[Chunk]:
    """Yield what there is to do."""
    for part in parts:
        count = max(1, round(part.count * scale))
        for start in range(0, count, part.chunk):
            yield Chunk(part, seed, start, min(count, start + part.chunk))


def run(
    parts: Sequence[Part], scale: float, seed: int, *, state: Path, jobs: int, say: Callable[[str], None]
) -> dict[str, Tally]:
    """Make all attacks that are not done yet and return the tally of each part.

    Args:
        parts: Which.
        scale: Share of the full number.
        seed: Of every choice.
        state: File of what is done, one line a chunk; it is read first and added to.
        jobs: Processes at once.
        say: Takes lines of progress.
    """
    done = dict(_done(state))
    todo = [chunk for chunk in chunks(parts, scale, seed) if chunk.name not in done]
    with ThreadPoolExecutor(jobs) as pool, state.open("a", encoding="utf-8") as kept:
        for chunk, tally in zip(todo, pool.map(attacked, todo), strict=True):
            done[chunk.name] = tally
            kept.write(json.dumps({"chunk": chunk.name, "tally": tally.as_json()}) + "\n")
            kept.flush()
            say(f"{chunk.name}: {'clean' if tally.is_clean else tally.notes}")
    found = {part.name: Tally() for part in parts}
    for chunk in chunks(parts, scale, seed):
        found[chunk.part.name].add(done[chunk.name])
    return found


def attacked(chunk: Chunk) -> Tally:
    """Make the attacks of one chunk in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        words = [chunk.part.name, str(chunk.seed), str(chunk.start), str(chunk.stop), folder]
        stderr = ""
        try:
            ended = subprocess.run(
                [sys.executable, "-m", "attack.worker", *words],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                cwd=Path(__file__).parent.parent,
                check=False,
            )
            stderr = ended.stderr[-400:]
            return tally_of(json.loads(ended.stdout.splitlines()[-1]))
        except subprocess.TimeoutExpired:
            return Tally(hung=1, longest=PATIENCE, seconds=PATIENCE, notes=[f"{chunk.name}: did not end"])
        except (ValueError, IndexError):
            return Tally(internal=1, notes=[f"{chunk.name}: the process ended: {stderr}"])


def _done(state: Path) -> Iterator[tuple[str, Tally]]:
    if state.exists():
        for line in state.read_text(encoding="utf-8").splitlines():
            data = json.loads(line)
            yield data["chunk"], tally_of(data["tally"])
