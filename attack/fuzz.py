"""Attacks on readers: damaged and forged inputs, handed to the parsers themselves."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

from attack.mutated import as_text, damaged, forged
from attack.outcome import Outcome
from attack.runs import make_runs
from tracing import frames, journal_frames
from tracing.errors import SpecwbError
from tracing.findings_log import read_findings
from tracing.identity import Identity
from tracing.integrity import verify_run
from tracing.journal import read_journal
from tracing.manifest import read_manifest
from tracing.reader import open_run
from tracing.schema import arrow_schema
from tracing.stream_reader import StreamReader


@cache
def sample(folder: Path, name: str) -> bytes:
    """Return a file of a small run that was killed, or, of a closed one, its manifest."""
    place = folder.parent / "sample"
    if not place.exists():
        place.mkdir(parents=True, exist_ok=True)
        make_runs(place)
    return (place / ("a-closed" if name == "manifest.json" else "a-5") / name).read_bytes()


def attempt(outcome: Outcome, read: Callable[[], object], sentence: str) -> None:
    """Read; an error that is meant for the user is fine, any other is exit code 70."""
    try:
        read()
    except SpecwbError:
        pass
    except Exception as problem:  # noqa: BLE001 what is counted as exit code 70
        outcome.say("internal", f"{sentence}: {type(problem).__name__}: {str(problem)[:200]}")


def journal(index: int, seed: int, folder: Path) -> Outcome:
    """Read a journal that was damaged, or whose records were forged under right checksums."""
    chance, outcome = random.Random(f"{seed} journal {index}"), Outcome()
    data = sample(folder.parent, "fused.journal")
    if chance.random() < 0.4:
        changed = damaged(data, chance)
        content = read_journal(changed)
        if content.problem is None and changed != data and not data.startswith(changed):
            outcome.say("unnoticed", f"a damaged journal, case {index}")
        return outcome
    places = [0, *_stops(data)]
    records = [
        journal_frames.Record(data[start + 4], data[start + 20 : stop]) for start, stop in pairwise(places)
    ]
    at = chance.randrange(len(records))
    kind, payload = records[at]
    (length,) = struct.unpack_from("<I", payload)
    text = as_text(forged(json.loads(payload[4 : 4 + length]), chance))
    arrays = payload[4 + length :] if chance.random() < 0.7 else damaged(payload[4 + length :], chance)
    kind = kind if chance.random() < 0.8 else chance.randrange(8)
    records[at] = journal_frames.Record(kind, struct.pack("<I", len(text)) + text + arrays)
    changed = journal_frames.chain(records)[0]
    attempt(outcome, lambda: read_journal(changed), f"journal {index}")
    return outcome


def _stops(data: bytes) -> list[int]:
    return [stop for _, stop in journal_frames.scan(memoryview(data))]


def findings(index: int, seed: int, folder: Path) -> Outcome:
    """Read findings that were damaged, or forged under right checksums."""
    chance, outcome = random.Random(f"{seed} findings {index}"), Outcome()
    data = sample(folder.parent, "findings.jsonl")
    if chance.random() < 0.3:
        changed = damaged(data, chance)
        problem = read_findings(changed)[1]
        if problem is None and not data.startswith(changed):
            outcome.say("unnoticed", f"damaged findings, case {index}")
        return outcome
    lines = data.splitlines()
    at = chance.randrange(len(lines))
    value = forged(json.loads(lines[at]), chance)
    body = as_text(value).removesuffix(b"}")
    lines[at] = body + f',"crc32":"{zlib.crc32(body):08x}"}}'.encode()
    attempt(outcome, lambda: _shown(b"\n".join([*lines[at:], b""])), f"findings {index}")
    return outcome


def _shown(data: bytes) -> None:
    """Read findings and do with each what reports do."""
    for finding in read_findings(data)[0]:
        json.dumps(finding.as_json())
        str(finding.moment)


def manifest(index: int, seed: int, folder: Path) -> Outcome:
    """Read a manifest that was damaged, or forged under a right checksum."""
    chance, outcome = random.Random(f"{seed} manifest {index}"), Outcome()
    data = sample(folder.parent, "manifest.json")
    if is_damaged := chance.random() < 0.3:
        changed = damaged(data, chance)
    else:
        body = json.dumps(forged(json.loads(data), chance), indent=1).removesuffix("\n}").encode()
        changed = body + f',\n "crc32": "{zlib.crc32(body):08x}"\n}}\n'.encode()
    (folder / "manifest.json").write_bytes(changed)

    def read() -> None:
        read_manifest(folder)
        if is_damaged and changed != data:
            outcome.say("unnoticed", f"a damaged manifest, case {index}")

    attempt(outcome, read, f"manifest {index}")
    return outcome


def stream(index: int, seed: int, folder: Path) -> Outcome:
    """Read a stream that was damaged, or whose frames were forged under right checksums."""
    chance, outcome = random.Random(f"{seed} stream {index}"), Outcome()
    data = sample(folder.parent, "fused.arrows")
    is_damaged = chance.random() < 0.2
    changed = damaged(data, chance) if is_damaged else _restamped(data, chance)
    (folder / "fused.arrows").write_bytes(changed)

    def read() -> None:
        reader = StreamReader(folder / "fused.arrows", arrow_schema(), Identity())
        batches = [reader.read(number) for number in range(len(reader.batches))]
        is_fine = reader.problem is None and not reader.bad
        if is_damaged and is_fine and not data.startswith(changed):
            outcome.say("unnoticed", f"a damaged stream, case {index}")
        for batch in batches:
            batch.to_pylist()

    attempt(outcome, read, f"stream {index}")
    return outcome


def _restamped(data: bytes, chance: random.Random) -> bytes:
    """Damage one frame and give it, and those after it, right checksums where they still have a place."""
    places = [0]
    while len(data) > places[-1] and (frame := frames.scan_frame(memoryview(data), places[-1])):
        places.append(frame.stop)
    pieces = [data[start:stop] for start, stop in pairwise(places)]
    at = chance.randrange(len(pieces))
    pieces[at] = _stamped(damaged(pieces[at], chance))
    return b"".join(pieces)


def _stamped(frame: bytes) -> bytes:
    at = frame.rfind(b'"crc32": "') + 10
    if at < 10 or at + 8 > len(frame):
        return frame
    zeroed = frame[:at] + b"00000000" + frame[at + 8 :]
    return zeroed[:at] + f"{zlib.crc32(zeroed):08x}".encode() + zeroed[at + 8 :]


def folder_of_forgeries(index: int, seed: int, folder: Path) -> Outcome:
    """Open and verify a whole run one of whose files was forged."""
    chance, outcome = random.Random(f"{seed} folder {index}"), Outcome()
    names = ("manifest.json", "fused.journal", "findings.jsonl", "vocabulary.arrows", "fused.arrows")
    changed = chance.choice(names)
    for name in names:
        data = sample(folder.parent, name)
        (folder / name).write_bytes(damaged(data, chance) if name == changed else data)

    attempt(outcome, lambda: _read_folder(folder), f"folder {index}")
    return outcome


def _read_folder(folder: Path) -> None:
    verify_run(folder)
    run = open_run(folder)
    assert isinstance(run.vocabulary, dict)
    for name in run.path_names:
        list(run.path(name))
