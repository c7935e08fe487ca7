"""Forged runs: one thing in the structure of a run is changed, and every checksum is made to fit again.

Random damage is found by checksums; what gets past them is written on purpose, or by another program.
"""

from __future__ import annotations

import copy
import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracing import frames, journal_frames
from tracing.journal_frames import Record
from tracing.manifest import write_manifest

DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]
NASTY: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**31, 2**63, 10**30, 10**400, -(10**400), 1.5, 1e308, 5e-324),
    *("", "x", "\udc80", "\x1b[31m::error::", "1" * 5000, "../../etc/passwd", "NaN", "0:0:0"),
    *([], {}, [None], [[]], {"": None}, {"a": {"b": []}}, [1, "x", None], list(range(300)), DEEP),
)
"""Values that stand where another kind, or another size, is meant."""


def forged(data: Any, chance: random.Random) -> Any:
    """Return plain data with one place of it changed: another value, a key gone, one more, two swapped."""
    data = copy.deepcopy(data)
    holder, key = chance.choice(_places(data))
    act = chance.randrange(8)
    if act == 0 and isinstance(holder, dict):
        del holder[key]
    elif act == 1 and isinstance(holder, dict):
        holder[chance.choice(["", "x", "\udc80", "fused", key + "_"])] = copy.deepcopy(holder[key])
    elif act == 2:
        other, at = chance.choice(_places(data))
        holder[key] = copy.deepcopy(other[at])
    else:
        holder[key] = copy.deepcopy(chance.choice(NASTY))
    return data


def _places(data: Any) -> list[tuple[Any, Any]]:
    """Return holder and key of every value below `data`; the shallow ones as often as the deep."""
    levels: list[list[tuple[Any, Any]]] = []
    holders = [data]
    while holders and len(levels) < 6:
        keys = [
            (each, key)
            for each in holders
            for key in (list(each) if isinstance(each, dict) else range(len(each)))
        ]
        if keys:
            levels.append(keys)
        holders = [each[key] for each, key in keys if isinstance(each[key], (dict, list))]
    most = max((len(level) for level in levels), default=0)
    return [place for level in levels for place in level * max(1, most // len(level))]


Change = Callable[[Any, random.Random], Any]


def forge_manifest(folder: Path, chance: random.Random) -> None:
    """Change the manifest."""
    data = json.loads((folder / "manifest.json").read_bytes())
    write_manifest(folder, forged(data, chance))


def forge_findings(folder: Path, chance: random.Random, change: Change = forged) -> None:
    """Change one finding; the lines are chained again, and the manifest lists the new file."""
    path = folder / "findings.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    at = chance.randrange(len(lines))
    lines[at] = change(lines[at], chance)
    after, out = "", b""
    for line in lines:
        if isinstance(line, dict):
            line.pop("crc32", None)
            if "after" in line:
                line["after"] = after
        body = json.dumps(line, separators=(",", ":")).removesuffix("}").encode()
        after = f"{zlib.crc32(body):08x}"
        out += body + f',"crc32":"{after}"}}\n'.encode()
    path.write_bytes(out)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    if isinstance(manifest.get("findings"), dict):
        manifest["findings"] |= {"bytes": len(out), "crc32": f"{zlib.crc32(out):08x}"}
        write_manifest(folder, manifest)


def forge_journal(folder: Path, chance: random.Random) -> None:
    """Change one record of a journal."""
    path = chance.choice(sorted(folder.glob("*.journal")))
    data, records, at = path.read_bytes(), [], 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at + 4)
        records.append(Record(kind, data[at + 20 : at + 20 + length]))
        at += 20 + length
    number = chance.randrange(len(records))
    kind, payload = records[number]
    (size,) = struct.unpack_from("<I", payload)
    text = json.dumps(forged(json.loads(payload[4 : 4 + size]), chance)).encode()
    records[number] = Record(
        chance.choice([kind] * 9 + [chance.randrange(9)]),
        struct.pack("<I", len(text)) + text + payload[4 + size :],
    )
    path.write_bytes(journal_frames.chain(records)[0])


def forge_stream(folder: Path, chance: random.Random) -> None:
    """Change the facts of one frame of a stream; the manifest and the chain of frames fit again."""
    path = chance.choice(sorted(folder.glob("*.arrows")))
    data = path.read_bytes()
    found, at = [], 0
    while at < len(data) and (frame := frames.scan_frame(memoryview(data), at)) is not None:
        found.append(frame)
        at = frame.stop
    schema = pa.ipc.read_schema(pa.py_buffer(data[: found[0].stop]))
    number, out, previous = chance.randrange(len(found)), b"", ""
    for each, frame in enumerate(found):
        facts = {key: value for key, value in frame.facts.items() if key != "crc32"}
        if "previous" in facts:
            facts["previous"] = previous
        facts = forged(facts, chance) if each == number else facts
        if not each:
            made = frames.encode_schema(schema, facts)
        else:
            whole = pa.py_buffer(data[: found[0].stop] + data[frame.start : frame.stop])
            batch = pa.ipc.open_stream(whole).read_next_batch()
            made = frames.encode_batch(_spoiled(batch, chance) if each == number else batch, facts, "zstd")
        previous, out = frames.crc_of(made), out + made
    path.write_bytes(out + data[at:])
    manifest = json.loads((folder / "manifest.json").read_bytes())
    entry = manifest["paths"].get(path.stem, manifest.get("vocabulary"))
    if isinstance(entry, dict) and "bytes" in entry:
        entry |= {"bytes": len(out) + len(data) - at, "crc32": previous}
        write_manifest(folder, manifest)


def _spoiled(batch: pa.RecordBatch, chance: random.Random) -> pa.RecordBatch:
    """Return a batch one column of which is null, or another row's."""
    if not batch.num_rows or chance.random() < 0.5:
        return batch
    number = chance.randrange(batch.num_columns)
    column = batch.column(number)
    rows = [chance.choice([None, *range(batch.num_rows)]) for _ in range(batch.num_rows)]
    return batch.set_column(number, batch.schema.field(number), column.take(pa.array(rows, pa.int64())))


Forge = Callable[[Path, random.Random], None]
FORGERS: dict[str, Forge] = {
    "manifest": forge_manifest,
    "findings": forge_findings,
    "journal": forge_journal,
    "stream": forge_stream,
}
