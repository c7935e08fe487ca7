"""Model directories and single files, packed and unpacked."""

from __future__ import annotations

import shutil
from pathlib import Path

from tracing.errors import CheckpointError, UsageError
from tracing.files import environment_problem, replace_file
from workbench.checkpoints.packed_file import MAGIC, SUFFIX, mapped, open_packed, write_original, write_packed
from workbench.weights import container, published
from workbench.weights.choice import choose
from workbench.weights.floats import FloatFormat
from workbench.weights.native import decoder_for
from workbench.weights.parameters import Parameters

SAFETENSORS = ".safetensors"


def pack_directory(source: Path, target: Path) -> None:
    """Pack every safetensors file of a model directory; the other files are copied.

    Raises:
        UsageError: There is nothing to pack.
        CheckpointError: A file is no safetensors file.
        EnvironmentProblemError: The target cannot be written.
    """
    _convert(source, target, SAFETENSORS)


def _convert(source: Path, target: Path, suffix: str) -> None:
    """Convert the files with that suffix and copy the others into a new directory."""
    files = sorted(path for path in source.iterdir() if path.is_file())
    if not any(path.suffix == suffix for path in files):
        raise UsageError(f"{source} holds no {suffix} file; give a model directory")
    try:
        target.mkdir(parents=True)
        for path in files:
            if path.suffix != suffix:
                shutil.copy2(path, target / path.name)
            elif suffix == SUFFIX:
                unpack_file(path, target / path.name.removesuffix(SUFFIX))
            else:
                write_packed(path, target / f"{path.name}{SUFFIX}")
    except OSError as problem:
        raise environment_problem(target, problem) from None


def pack_numbers(source: Path, target: Path, layout: FloatFormat, parameters: Parameters | None) -> None:
    """Pack a file of bare numbers into one stream of ours, or, with parameters, into a published one.

    Raises:
        UsageError: Bytes that are no whole elements, or numbers that the published layout would lose.
    """
    with mapped(source) as data:
        words = layout.words(data)
        if parameters is None:
            replace_file(target, container.write(words, layout, choose(words, layout)))
        else:
            replace_file(target, published.write_stream(words, layout, parameters))


def unpack_any(source: Path, target: Path, parameters: Parameters | None) -> None:
    """Unpack a directory, a packed file, one stream of ours or, with parameters, a published stream.

    Raises:
        UsageError: A published stream that other parameters wrote.
        CheckpointError: Damaged, or none of these.
    """
    if source.is_dir():
        _convert(source, target, SUFFIX)
    elif parameters is None:
        unpack_file(source, target)
    else:
        with mapped(source) as data:
            words, layout, outside = published.read_stream(data.tobytes(), parameters)
        if outside:
            raise CheckpointError(
                f"{source} lost {outside:,} element(s) when it was written: they decode to an exponent that "
                f"{layout.name} does not have; see specwb weights verify"
            )
        replace_file(target, words.tobytes())


def unpack_file(source: Path, target: Path) -> None:
    """Unpack a packed file or one stream of ours.

    Raises:
        CheckpointError: Damaged, or neither.
    """
    with mapped(source) as data:
        start = bytes(data[: len(MAGIC)])
        if start == MAGIC:
            write_original(open_packed(data, str(source)), target)
        elif start.startswith(container.MAGIC):
            stream = container.open_stream(data, str(source))
            words = container.read(stream, str(source), decode=decoder_for(data.size))
            replace_file(target, words.tobytes())
        else:
            raise CheckpointError(
                f"{source} is no packed file of ours; a published ENEC stream needs --parameters B,N,M"
            )
