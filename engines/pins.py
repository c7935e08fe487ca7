"""What each engine's environment holds: every package by its exact version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from engines.environment import Pins, python_of

OWN_PYTHON: Final = "SPECWB_{name}_PYTHON"
"""Variable that names the interpreter of an environment that is there already."""


def pinned(name: str) -> Pins:
    """Return the pins that lie beside this file as `<name>.txt`, one `package==version` a line.

    Torch's own requirements are left to pip: builds for other machines have others.
    """
    lines = Path(__file__).with_name(f"{name}.txt").read_text().splitlines()
    pins = tuple(line for line in lines if line.strip() and line[0] != "#")
    torch = next(each for each in pins if each.startswith("torch=="))
    return Pins(name, (("--no-deps", *pins), (torch,)), imports=("torch", "vllm"))


def own_python(name: str) -> Path | None:
    """Return the interpreter that the user names for an engine."""
    own = os.environ.get(OWN_PYTHON.format(name=name.replace("-", "_").upper()))
    return Path(own) if own else None


def engine_python(name: str) -> Path:
    """Return the interpreter that runs an engine: the user's own, or that of an environment by its pins.

    Raises:
        NotInstallableError: The environment cannot be had on this machine.
    """
    return own_python(name) or python_of(pinned(name))
