"""Load the stub libraries into this process, before torch_npu asks for CANN's."""

from __future__ import annotations

import ctypes
from pathlib import Path

from workbench.npu.stub.build import MAIN_LIBRARY


def preload(folder: Path) -> None:
    """Load every stub with global symbols; torch_npu's needs are then met by library name.

    Args:
        folder: What `stub_folder` returned.

    Raises:
        OSError: A stub cannot be loaded (a broken cache).
    """
    others = sorted(path for path in folder.glob("lib*.so") if path.name != MAIN_LIBRARY)
    for library in (folder / MAIN_LIBRARY, *others):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
