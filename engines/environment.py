"""Environments of engines, cached by a digest of their pins."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOME: Final = Path(__file__).parent / ".environments"
INSTALL_SECONDS: Final = 900


class NotInstallableError(Exception):
    """An environment cannot be had on this machine; its runs are skipped, with this reason."""


@dataclass(frozen=True, slots=True)
class Pins:
    """What an environment holds.

    Attributes:
        name: Of the engine.
        steps: Arguments of `pip install`, one call after the other.
        imports: What must be importable for the environment to count as installed.
    """

    name: str
    steps: tuple[tuple[str, ...], ...]
    imports: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it lies: another place for other pins or another Python."""
        text = repr((sys.version_info[:2], self.steps)).encode()
        return HOME / f"{self.name}-{hashlib.sha256(text).hexdigest()[:16]}"


def python_of(pins: Pins) -> Path:
    """Return the interpreter of an environment, installing it if it is not there.

    Raises:
        NotInstallableError: pip failed or took too long, or what it installed cannot be imported; what was
            said last is in the message.
    """
    python = pins.folder / "bin" / "python"
    done = pins.folder / ".installed"
    if done.exists():
        return python
    shutil.rmtree(pins.folder, ignore_errors=True)
    _run(pins, [sys.executable, "-m", "venv", str(pins.folder)])
    for step in pins.steps:
        _run(pins, [str(python), "-m", "pip", "install", "-q", *step])
    for module in pins.imports:
        _run(pins, [str(python), "-c", f"import {module}"])
    done.touch()
    return python


def _run(pins: Pins, command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise NotInstallableError(f"{pins.name}: {problem}") from problem
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise NotInstallableError(f"{pins.name}: {' '.join(command[1:6])} failed: {lines[-1]}")
