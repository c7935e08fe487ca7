"""Imports of large libraries make hardly any garbage, and each search for it walks all that is there."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Collect no garbage in this block; what it imports, torch among it, is never searched later.

    Does nothing where torch is there already.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
