"""`bulk/`: whole tensors around a divergence, each a plain uncompressed `.npy` listed with its checksum."""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tracing.errors import TraceError, UsageError
from tracing.files import open_regular, replace_file, sync_folder
from tracing.hostarray import host_array
from tracing.ipc_message import CorruptFrameError
from tracing.moment import Moment

BULK_FOLDER: Final = "bulk"
_NAME: Final = re.compile(r"[A-Za-z0-9_.]{1,80}\Z")


def save_bulk(folder: Path, moment: Moment, name: str, tensor: Any, *, flush: bool = False) -> dict[str, Any]:
    """Write one tensor as `bulk/<moment>-<name>.npy` and return its entry for the manifest.

    bfloat16 is written as float32, which holds it exactly; the entry keeps the original dtype.

    Raises:
        UsageError: The name cannot be a file name.
        ShapeMismatchError: It is no tensor.
        EnvironmentProblemError: The disk refused it.
    """
    if not _NAME.match(name):
        raise UsageError(f"a bulk tensor's name should be letters, digits, dot and underscore, got {name!r}")
    array = np.asarray(host_array(tensor, name))
    if array.dtype.kind not in "biuf":
        raise UsageError(f"bulk tensor {name} should hold numbers, got {array.dtype}")
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array) if array.ndim else array, allow_pickle=False)
    data = buffer.getvalue()
    path = Path(BULK_FOLDER) / f"{str(moment).replace(':', '-')}-{name}.npy"
    (folder / BULK_FOLDER).mkdir(exist_ok=True)
    replace_file(folder / path, data, flush=flush)
    if flush:
        sync_folder(folder)
    return {
        "file": path.as_posix(),
        "moment": str(moment),
        "name": name,
        "dtype": str(getattr(tensor, "dtype", array.dtype)).removeprefix("torch."),
        "shape": list(array.shape),
        "bytes": len(data),
        "crc32": f"{zlib.crc32(data):08x}",
    }


def load_bulk(folder: Path, entry: dict[str, Any]) -> NDArray[Any]:
    """Read one listed tensor as a read-only memory map, after proving it.

    Raises:
        TraceError: The file is not there.
        CorruptFrameError: It is not what was written.
    """
    path = checked_bulk_path(folder, entry)
    check_bulk(path, entry)
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as problem:
        raise CorruptFrameError(f"{path} is no .npy file: {problem}") from None
    return array


def checked_bulk_path(folder: Path, entry: dict[str, Any]) -> Path:
    """Return the path of an entry; a manifest of strangers must not lead outside its run.

    Raises:
        CorruptFrameError: The entry names a file elsewhere.
    """
    parts = Path(str(entry.get("file"))).parts
    if len(parts) != 2 or parts[0] != BULK_FOLDER or parts[1] in {".", ".."}:
        raise CorruptFrameError(f"bulk entry names {entry.get('file')!r}, expected {BULK_FOLDER}/NAME.npy")
    return folder / parts[0] / parts[1]


def check_bulk(path: Path, entry: dict[str, Any]) -> None:
    """Compare size and checksum with the manifest, a piece at a time.

    Raises:
        TraceError: The file cannot be read.
        CorruptFrameError: It differs.
    """
    crc, size = 0, 0
    try:
        with open_regular(path) as file:
            while piece := file.read(1 << 20):
                crc, size = zlib.crc32(piece, crc), size + len(piece)
    except OSError as problem:
        raise TraceError(f"{path} cannot be read: {problem.strerror or problem}") from None
    if (size, f"{crc:08x}") != (entry.get("bytes"), entry.get("crc32")):
        raise CorruptFrameError(f"{path} is not what the manifest lists")
