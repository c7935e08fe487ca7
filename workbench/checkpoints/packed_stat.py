"""What packing gains: sizes tensor by tensor, the bounds of the code, and speed beside zstd and lz4."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from tracing.errors import CheckpointError, UsageError
from workbench.checkpoints.json_text import shown
from workbench.checkpoints.packed_file import FLOATS, MAGIC, mapped, open_packed, safetensors_parts
from workbench.weights import container
from workbench.weights.choice import bounds, choose
from workbench.weights.container import DecodeBlocks
from workbench.weights.floats import FloatFormat, Words
from workbench.weights.grouped import decode_blocks
from workbench.weights.measure import Speed, rivals, timed
from workbench.weights.native import compiled
from workbench.weights.parameters import Parameters

TIMED_BYTES: Final = 8 << 20
"""Of a file that are timed, from its largest tensors on; zstd -19 takes seconds for them."""


@dataclass(frozen=True, slots=True)
class TensorStat:
    """One tensor.

    Attributes:
        parameters: Of its code.
        num_elements: Of the tensor.
        num_bytes, packed_bytes: Before and after.
        num_blocks, num_raw: Blocks, and those stored as they are.
        model_bits, entropy_bits: Bits of an element by the model of the code and by the entropy of exponents.
    """

    name: str
    dtype: str
    parameters: str
    num_elements: int
    num_bytes: int
    packed_bytes: int
    num_blocks: int
    num_raw: int
    model_bits: float
    entropy_bits: float


@dataclass(slots=True)
class Stat:
    """All tensors of a file.

    Attributes:
        source: The file.
        tensors: Those of floating point.
        other_bytes: Bytes of tensors that are stored as they are.
        speeds: Codecs on the same bytes, ours first; empty unless asked for.
        timed_bytes: How many bytes these had.
        skipped: What was not timed, and why; may be empty.
    """

    source: str
    tensors: list[TensorStat] = field(default_factory=list)
    other_bytes: int = 0
    speeds: list[Speed] = field(default_factory=list)
    timed_bytes: int = 0
    skipped: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self) | {"ratio": self.ratio, "model_ratio": self._bound("model"),
                               "entropy_ratio": self._bound("entropy")}  # fmt: skip

    @property
    def ratio(self) -> float:
        """Return original over packed bytes of the floating point tensors."""
        packed = sum(each.packed_bytes for each in self.tensors)
        return sum(each.num_bytes for each in self.tensors) / max(packed, 1)

    def _bound(self, which: str) -> float:
        """Return the ratio that the code's model, or the entropy of exponents, allows."""
        bits: float = sum(getattr(each, f"{which}_bits") * each.num_elements for each in self.tensors)
        return 8 * sum(each.num_bytes for each in self.tensors) / max(bits, 1)

    def lines(self) -> list[str]:
        """Return the report as text."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{'bytes':>13} {'ratio':>6} {'model':>6} {'bound':>6}  parameters     blocks  tensor"
        for each in self.tensors:
            width = 8 * each.num_bytes / each.num_elements
            raw = f" ({each.num_raw} raw)" if each.num_raw else ""
            yield (
                f"{each.num_bytes:>13,} {each.num_bytes / each.packed_bytes:6.3f} "
                f"{width / each.model_bits:6.3f} {width / each.entropy_bits:6.3f}  "
                f"{each.parameters:<14} {each.num_blocks}{raw}  {each.name} {each.dtype}"
            )
        yield (
            f"in all: ratio {self.ratio:.3f}; model of the code {self._bound('model'):.3f}, entropy of "
            f"exponents {self._bound('entropy'):.3f}; {self.other_bytes:,} bytes stored as they are"
        )
        for speed in self.speeds:
            encode = "    -" if speed.encode is None else f"{speed.encode:5.0f}"
            yield (
                f"{speed.codec:<12} ratio {speed.ratio:5.3f}, encodes {encode} MB/s, decodes "
                f"{speed.decode:6.0f} MB/s, of processor time, on {self.timed_bytes:,} bytes"
            )
        if self.skipped:
            yield self.skipped


def stat_any(source: Path, layout: FloatFormat | None, *, is_timed: bool) -> Stat:
    """Return what packing gains on a safetensors file, a packed file, a directory or bare numbers.

    Raises:
        CheckpointError: None of these.
    """
    result = Stat(str(source))
    timed_words: list[tuple[Words, FloatFormat, Parameters]] = []
    for name, words, own in _tensors(source, layout):
        if own is None:
            result.other_bytes += words.nbytes
            continue
        parameters = choose(words, own)
        stream = container.open_stream(container.write(words, own, parameters))
        bound = bounds(words, own, parameters)
        result.tensors.append(
            TensorStat(
                shown(name), own.name, str(parameters), words.size, words.nbytes, stream.data.size,
                len(stream.table), stream.num_raw, bound.model, bound.entropy,
            )
        )  # fmt: skip
        if is_timed:
            timed_words.append((words.copy(), own, parameters))
            timed_words = sorted(timed_words, key=lambda each: -each[0].nbytes)[:4]
    if not result.tensors:
        raise UsageError(f"{source} holds no floating point tensor of {', '.join(FLOATS)}")
    if is_timed:
        _time(result, timed_words)
    return result


def _tensors(source: Path, layout: FloatFormat | None) -> Iterator[tuple[str, Words, FloatFormat | None]]:
    """Yield name, words and dtype of every tensor; the dtype is None for what is stored as it is."""
    if source.is_dir():
        files = sorted([*source.glob("*.safetensors"), *source.glob("*.enec")])
        if not files:
            raise UsageError(f"{source} holds no safetensors or packed file")
        for path in files:
            yield from _tensors(path, None)
        return
    with mapped(source) as data:
        if layout is not None:
            yield source.name, layout.words(data), layout
        elif bytes(data[: len(MAGIC)]) == MAGIC:
            packed = open_packed(data, str(source))
            for place, tensor in enumerate(packed.tensors):
                own = FLOATS.get(tensor.dtype)
                content = packed.bytes_of(place)
                yield tensor.name, content if own is None else content.view(own.word), own
        elif source.suffix == ".safetensors":
            head, tensors = safetensors_parts(data, str(source))
            for tensor in tensors:
                own = FLOATS.get(tensor.dtype)
                content = np.frombuffer(
                    data[len(head) + tensor.first : len(head) + tensor.last].tobytes(), np.uint8
                )
                yield tensor.name, content if own is None or not content.size else content.view(own.word), own
        else:
            raise CheckpointError(f"{source} is no safetensors or packed file; give --dtype for bare numbers")


def _time(result: Stat, chosen: list[tuple[Words, FloatFormat, Parameters]]) -> None:
    words, layout, parameters = chosen[0]
    part = words.reshape(-1)[: TIMED_BYTES // layout.num_bytes]
    result.timed_bytes = part.nbytes
    result.speeds, result.skipped = speeds(part, layout, parameters)


def speeds(words: Words, layout: FloatFormat, parameters: Parameters) -> tuple[list[Speed], str]:
    """Return ratio and throughput of our container, zstd and lz4 on some elements, and what was skipped."""
    coded = container.write(words, layout, parameters)
    encode = timed(lambda: container.write(words, layout, parameters), words.nbytes, 2)
    ratio = words.nbytes / len(coded)

    def decode(blocks: DecodeBlocks) -> float:
        return timed(lambda: container.read(container.open_stream(coded), decode=blocks), words.nbytes)

    found = [Speed("enec numpy", ratio, encode, decode(decode_blocks))]
    native, why = compiled()
    if native is not None:
        found.append(Speed("enec C++", ratio, None, decode(native)))
    skipped = "" if native is not None else f"the compiled decoder was not timed: {why}"
    return [*found, *rivals(words.tobytes())], skipped
