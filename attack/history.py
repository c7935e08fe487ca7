"""An independent reader of runs, and what must be in them.

It knows the format from its description and shares nothing with the product but pyarrow: Arrow streams
are read by `pyarrow.ipc`, the journal's records by the code below. What was acknowledged comes from another
process, which wrote it down when the recorder said it.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

Key = tuple[int, int, int]
ACK = struct.Struct("<BiiI")
STEP, FINDING = 1, 2


def content(prompt_id: int, step: int) -> tuple[list[int], int]:
    """Return the tokens and the final token that every recorder of an attack writes at a step."""
    return [prompt_id, step, (prompt_id * 31 + step * 7) % 1009, step % 13], (step * 17 + prompt_id) % 997


def digest(tokens: list[int], final: int) -> int:
    """Return a checksum of what a step holds."""
    return zlib.crc32(struct.pack(f"<{len(tokens) + 1}q", *tokens, final))


def rows_of(folder: Path, path: str) -> list[tuple[Key, int]]:
    """Return key and digest of every step that is in the files of a path, sealed ones first."""
    sealed = list(_sealed(folder / f"{path}.arrows"))
    journaled = _journaled(folder / f"{path}.journal")
    return sealed + [journaled[number] for number in sorted(journaled) if number >= len(sealed)]


def findings_of(folder: Path) -> list[int]:
    """Return the steps of all whole lines of the findings file."""
    lines = (folder / "findings.jsonl").read_bytes().split(b"\n")[:-1]
    return [int(json.loads(line)["step"]) for line in lines]


def _sealed(file: Path) -> Iterator[tuple[Key, int]]:
    if not file.exists():
        return
    try:
        reader = pa.ipc.open_stream(file.read_bytes())
    except (pa.ArrowInvalid, OSError):
        return
    while True:
        try:
            batch = reader.read_next_batch()
        except (StopIteration, pa.ArrowInvalid, OSError):
            return
        wanted = ("prompt_id", "turn", "step", "token_ids", "final_token_id")
        for prompt_id, turn, step, tokens, final in zip(
            *(batch.column(name).to_pylist() for name in wanted), strict=True
        ):
            yield (prompt_id, turn, step), digest(tokens, final)


def _journaled(file: Path) -> dict[int, tuple[Key, int]]:
    """Return the finished steps of a journal by row number, up to the first record that is not whole."""
    found: dict[int, tuple[Key, int]] = {}
    open_steps: dict[int, dict[str, Any]] = {}
    data = file.read_bytes() if file.exists() else b""
    at = crc = 0
    while at + 20 <= len(data):
        _, kind, size, wanted, _ = struct.unpack_from("<4sIIII", data, at)
        payload = data[at + 20 : at + 20 + size]
        crc = zlib.crc32(payload, crc)
        if len(payload) < size or crc != wanted:
            break
        at += 20 + size
        if kind in {2, 3}:
            facts, values = _values(payload)
            values = {**open_steps.pop(facts["uid"], {}), **values}
            if kind == 2:
                open_steps[facts["uid"]] = values
            else:
                key = (facts["at"][0], facts["at"][1], facts["at"][2])
                found.setdefault(facts["row"], (key, digest(values["token_ids"], values["final_token_id"])))
    return found


def _values(payload: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the facts of a record and the columns of the attack in it."""
    (length,) = struct.unpack_from("<I", payload)
    facts = json.loads(payload[4 : 4 + length])
    at, values = 4 + length, {}
    for name, described in facts["columns"].items():
        if isinstance(described, list):
            count, has_missing, _, itemsize = described
            if name == "token_ids":
                values[name] = list(struct.unpack_from(f"<{count}i", payload, at))
            at += count * itemsize + (count if has_missing else 0)
        else:
            values[name] = described
    return facts, values


def compare(folder: Path, paths: list[str], acks: bytes) -> tuple[list[str], list[str], dict[str, set[Key]]]:
    """Compare the files of a run with what was acknowledged.

    Returns:
        Sentences about what is lost, sentences about what is there and wrong, and the steps of each path.
    """
    lost: list[str] = []
    wrong: list[str] = []
    steps: dict[str, set[Key]] = {}
    digests: dict[Key, int] = {}
    for path in paths:
        rows = rows_of(folder, path)
        keys = [key for key, _ in rows]
        steps[path] = set(keys)
        digests.update(rows)
        if len(steps[path]) != len(keys):
            wrong.append(f"{path} holds a step twice")
        wrong += [f"{path} {key} is not what was recorded" for key, got in rows if got != _true(key)]
    findings: list[int] | None = None
    for kind, prompt_id, step, crc in ACK.iter_unpack(acks[: len(acks) // ACK.size * ACK.size]):
        if kind == STEP and digests.get((prompt_id, 0, step)) != crc:
            lost.append(f"step {prompt_id}:0:{step} was acknowledged and is gone")
        if kind == FINDING:
            findings = findings_of(folder) if findings is None else findings
            if step not in findings:
                lost.append(f"the finding of step {step} was acknowledged and is gone")
    return lost, wrong, steps


def _true(key: Key) -> int:
    return digest(*content(key[0], key[2]))
