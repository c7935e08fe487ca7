"""Where a command puts what it makes when nobody says where."""

from __future__ import annotations

from datetime import datetime
from itertools import chain, count
from pathlib import Path


def fresh_folder(prefix: str = "") -> Path:
    """Return `runs/PREFIX` with the time, and a number where that one is taken."""
    stamp = prefix + datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    endings = chain([""], (f"-{number}" for number in count(2)))
    folders = (Path("runs") / f"{stamp}{ending}" for ending in endings)
    return next(folder for folder in folders if not folder.exists())
