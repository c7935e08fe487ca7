"""`specwb check` in a process of its own, whose search path begins with our folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.view.safe_text import safe_lines

FRONT_DOOR = Path(__file__).resolve().parents[3] / "specwb.py"


class CheckFailedError(Exception):
    """`specwb check` could not look at the trace; `str()` is its sentence."""


@dataclass(frozen=True)
class Options:
    """What to check.

    Attributes:
        select, ignore: As on the command line.
        cwd: Where `[tool.specwb]` is looked for.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    cwd: Path | None = None


def run_check(run: Path, options: Options) -> dict[str, Any]:
    """Return what `specwb check --format json` says of one run.

    Raises:
        CheckFailedError: No run there, an unknown rule, or an internal error.
    """
    argv = [sys.executable, str(FRONT_DOOR), "check", str(run.resolve()), "--format", "json"]
    argv += [*_many("--select", options.select), *_many("--ignore", options.ignore)]
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=options.cwd,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)["runs"][0]
    except (ValueError, LookupError):
        sentence = safe_lines(done.stderr.strip())
        raise CheckFailedError(sentence or f"specwb check ended with {done.returncode}") from None
    return answer


def _many(option: str, words: Sequence[str]) -> list[str]:
    return [part for word in words for part in (option, word)]
