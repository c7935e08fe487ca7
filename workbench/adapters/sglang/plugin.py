"""The entry point `sglang.srt.plugins`: called by the engine in each of its processes."""

from __future__ import annotations

import logging
import os
from typing import Final

VARIABLE: Final = "SPECWB_TRACE"
"""Names the folder of the run; unset or empty: nothing happens."""

_log = logging.getLogger("specwb.sglang")


def register() -> None:
    """Register the hooks where the environment asks for it; never raises into the engine."""
    folder = os.environ.get(VARIABLE, "")
    if not folder:
        return
    try:
        from workbench.adapters.sglang.install import install

        install(folder)
    except Exception as problem:  # noqa: BLE001 whatever fails here must not stop the engine
        _log.warning("nothing is recorded: %s: %s", type(problem).__name__, problem)
