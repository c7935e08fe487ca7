"""Find folders on the import path that hide one of our four packages. Imports nothing of ours."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGES: Final = ("tracing", "invariants", "reference", "workbench")


@dataclass(frozen=True, slots=True)
class Shadow:
    """A folder or file with the name of one of our packages.

    Attributes:
        package: Our package's name.
        found: The other folder or file.
        hides: It comes first on the import path now; otherwise it would under `python -m` or pytest.
    """

    package: str
    found: Path
    hides: bool


def shadows(
    path: Sequence[str] | None = None, home: Path | None = None, working_folder: Path | None = None
) -> tuple[Shadow, ...]:
    """Return what hides, or would hide, one of our packages.

    Args:
        path: Import path in order; `sys.path` when None.
        home: Folder that holds our packages; found from this file when None.
        working_folder: Searched first by `python -m` and pytest; the current one when None.
    """
    ours = (home or Path(__file__).parents[2]).resolve()
    here = (working_folder or Path.cwd()).resolve()
    folders = [Path(entry or here).resolve() for entry in (sys.path if path is None else path)]
    before = folders[: folders.index(ours)] if ours in folders else folders
    found = [Shadow(name, other, True) for name in PACKAGES for other in _named(name, before, ours)]
    if here not in before:
        found += [Shadow(name, other, False) for name in PACKAGES for other in _named(name, [here], ours)]
    return tuple(found)


def _named(name: str, folders: Iterable[Path], ours: Path) -> list[Path]:
    """Return what Python would import as `name` from these folders, ours left out."""
    candidates = [
        candidate
        for folder in dict.fromkeys(folders)
        if folder != ours
        for candidate in (folder / name / "__init__.py", folder / f"{name}.py")
    ]
    return [file.parent if file.name == "__init__.py" else file for file in candidates if file.is_file()]
