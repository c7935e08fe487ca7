"""What the environment asks of the recorder; every process of an engine inherits it from the first one."""

from __future__ import annotations

import os
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from tracing.errors import UsageError
from tracing.settings import require_one_of

TRACE: Final = "SPECWB_TRACE"
"""Names the folder of the run; unset or empty: nothing happens."""
LEVEL: Final = "SPECWB_TRACE_LEVEL"
"""`basic` (the default) or `digest`, which adds the worker's block tables."""
MODE: Final = "SPECWB_TRACE_MODE"
"""`ring` (the default) keeps the last launches in memory; `full` writes all."""
BYTES: Final = "SPECWB_TRACE_BYTES"
"""Limit in bytes of each process: of the ring's memory, or of the file."""
SAMPLE: Final = "SPECWB_TRACE_SAMPLE"
"""Share of the requests that are recorded, each from its first launch to its last."""
CONTENT: Final = "SPECWB_TRACE_CONTENT"
"""`ids` (the default) or `none`: token ids under a permutation whose key is thrown away."""
BUDGET: Final = "SPECWB_TRACE_BUDGET"
"""Share of the engine's time that recording may take; above it new requests are left out, and counted."""
_RUN: Final = "SPECWB_TRACE_RUN"
_KEY: Final = "SPECWB_TRACE_KEY"
PARTS: Final = "parts"
"""Folder of the run in which each process has its own file."""
DEFAULT_BYTES: Final = {"ring": 64 << 20, "full": 4 << 30}
DEFAULT_BUDGET: Final = 0.25
SMALLEST: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """How an engine is recorded.

    Attributes:
        folder: Of the run.
        run: Word that all files of the run carry.
        key: Of the permutation of token ids; 0 records them as they are.
        level: `basic` or `digest`.
        mode: `ring` or `full`.
        max_bytes: Of each process.
        sample: Share of the requests.
        budget: Share of the engine's time.
    """

    folder: Path
    run: str
    key: int = 0
    level: str = "basic"
    mode: Literal["ring", "full"] = "full"
    max_bytes: int = DEFAULT_BYTES["full"]
    sample: float = 1.0
    budget: float = DEFAULT_BUDGET


def settings_of(environment: MutableMapping[str, str] = os.environ) -> RecorderSettings:
    """Read the settings; the first process of a run gives it its name and its key.

    Raises:
        UsageError: A value is none of those that there are.
    """
    level, mode = environment.get(LEVEL) or "basic", environment.get(MODE) or "ring"
    content = environment.get(CONTENT) or "ids"
    require_one_of(LEVEL, level, ("basic", "digest"))
    require_one_of(MODE, mode, tuple(DEFAULT_BYTES))
    require_one_of(CONTENT, content, ("ids", "none"))
    run = environment.setdefault(_RUN, secrets.token_hex(8))
    key = int(environment.setdefault(_KEY, secrets.token_hex(8)), 16) if content == "none" else 0
    max_bytes = _number(environment, BYTES, DEFAULT_BYTES[mode], least=SMALLEST)
    sample = _number(environment, SAMPLE, 1.0, least=0.0)
    if sample > 1:
        raise UsageError(f"{SAMPLE} should be a share from 0 to 1, got {sample:g}")
    return RecorderSettings(
        Path(environment[TRACE]),
        run,
        key,
        level,
        cast("Literal['ring', 'full']", mode),  # checked above
        int(max_bytes),
        sample,
        _number(environment, BUDGET, DEFAULT_BUDGET, least=0.0),
    )


def _number(environment: MutableMapping[str, str], name: str, default: float, *, least: float) -> float:
    text = environment.get(name) or ""
    try:
        number = float(text) if text else default
    except ValueError:
        raise UsageError(f"{name} should be a number, got {text!r}") from None
    if not least <= number < float("inf"):
        raise UsageError(f"{name} should be at least {least:g}, got {text}")
    return number
