"""Whether packed weights are whole: every checksum, every bit against the original, or what was lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tracing.errors import CheckpointError, UsageError
from workbench.checkpoints.json_text import shown
from workbench.checkpoints.packed_file import MAGIC, SUFFIX, PackedFile, mapped, open_packed
from workbench.weights import container
from workbench.weights.examine import StreamExamination, examine
from workbench.weights.floats import Bytes
from workbench.weights.parameters import Parameters
from workbench.weights.published import read_header


@dataclass(slots=True)
class VerifiedWeights:
    """What verification found.

    Attributes:
        kind: What it is.
        looked_at: What was looked at, in words.
        losses: What is lost or damaged.
        unknown: What could not be decided.
    """

    source: str
    kind: str
    looked_at: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Return 1 if something is lost, else 4 if something could not be decided, else 0."""
        return 1 if self.losses else 4 if self.unknown else 0

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        verdict = {0: "ok", 1: "lost", 4: "inconclusive"}[self.exit_code]
        return {
            "source": self.source,
            "kind": self.kind,
            "verdict": verdict,
            "looked_at": self.looked_at,
            "losses": self.losses,
            "unknown": self.unknown,
        }

    def lines(self) -> list[str]:
        """Return the report as text."""
        verdict = str(self.as_json()["verdict"])
        lines = [f"{verdict}: {self.source}, {self.kind}"]
        for label, items in (("looked at", self.looked_at), ("lost", self.losses), ("unknown", self.unknown)):
            lines += [f"  {label}: {item}" for item in items]
        return lines


def verify_any(source: Path, original: Path | None, parameters: Parameters | None) -> VerifiedWeights:
    """Verify a packed file, a packed directory, one stream of ours or a published stream.

    Raises:
        CheckpointError: Not packed weights.
    """
    if source.is_dir():
        return _directory(source, original)
    with mapped(source) as data:
        start = bytes(data[: len(MAGIC)])
        if start == MAGIC:
            return _file(source, data, original)
        if start.startswith(container.MAGIC):
            return _stream(source, data, original)
        return _published(source, data, original, parameters)


def _directory(source: Path, original: Path | None) -> VerifiedWeights:
    files = sorted(source.glob(f"*{SUFFIX}"))
    if not files:
        raise UsageError(f"{source} holds no {SUFFIX} file")
    whole = VerifiedWeights(str(source), "a model directory of packed files")
    for path in files:
        own = verify_any(path, original and original / path.name.removesuffix(SUFFIX), None)
        whole.looked_at += [f"{path.name}: {item}" for item in own.looked_at]
        whole.losses += [f"{path.name}: {item}" for item in own.losses]
    return whole


def _file(source: Path, data: Bytes, original: Path | None) -> VerifiedWeights:
    result = VerifiedWeights(str(source), "a packed file of weights")
    try:
        packed = open_packed(data, str(source))
    except CheckpointError as error:
        result.losses.append(str(error))
        return result
    result.losses += _damaged(packed)
    result.looked_at.append(f"header, and {len(packed.tensors)} tensors decoded with their checksums")
    if original is not None and not result.losses:
        with mapped(original) as known:
            result.losses += _unlike(packed, known, str(original))
        result.looked_at.append(f"every bit against {original}")
    return result


def _damaged(packed: PackedFile) -> list[str]:
    """Return one sentence for each tensor that cannot be decoded."""
    sentences = []
    for place in range(len(packed.tensors)):
        try:
            packed.bytes_of(place)
        except CheckpointError as error:
            sentences.append(str(error))
    return sentences


def _unlike(packed: PackedFile, known: Bytes, name: str) -> list[str]:
    """Return how the file that was packed differs from another one."""
    head = len(packed.head)
    if bytes(known[:head]) != packed.head or known.size != packed.original_bytes:
        return [f"{name} is another file: its header or its size differs"]
    return [
        f"{shown(tensor.name)} differs from {name}"
        for place, tensor in enumerate(packed.tensors)
        if not np.array_equal(packed.bytes_of(place), known[head + tensor.first : head + tensor.last])
    ]


def _stream(source: Path, data: Bytes, original: Path | None) -> VerifiedWeights:
    result = VerifiedWeights(str(source), "a packed tensor")
    try:
        stream = container.open_stream(data, str(source))
        words = container.read(stream, str(source))
    except UsageError as error:
        result.losses.append(str(error))
        return result
    result.looked_at.append(f"{len(stream.table)} blocks of {stream.layout.name} with their checksums")
    if original is not None:
        with mapped(original) as known:
            if not np.array_equal(words.view(np.uint8), known):
                result.losses.append(f"the decoded bytes differ from {original}")
        result.looked_at.append(f"every bit against {original}")
    return result


def _published(
    source: Path, data: Bytes, original: Path | None, parameters: Parameters | None
) -> VerifiedWeights:
    stream = data.tobytes()
    try:
        found = _examined(stream, parameters, original)
    except UsageError as error:
        raise CheckpointError(f"{source}: {error}") from None
    header = found.header
    result = VerifiedWeights(
        str(source), f"a published ENEC stream of {header.layout.name}, without checksums"
    )
    fits = ", ".join(f"n {n} m {m}" for n, m in found.fits) or "not read"
    result.looked_at.append(f"header, {header.num_blocks} blocks, masks and prefix table ({fits})")
    if original is not None:
        result.looked_at.append(f"every bit against {original}")
    result.losses, result.unknown = found.losses, found.unknown
    return result


def _examined(stream: bytes, parameters: Parameters | None, original: Path | None) -> StreamExamination:
    if original is None:
        return examine(stream, parameters)
    with mapped(original) as known:
        return examine(stream, parameters, read_header(stream).layout.words(known.tobytes()))
