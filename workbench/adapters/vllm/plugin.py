"""The entry point `vllm.general_plugins`: called by the engine in each of its processes."""

from __future__ import annotations

import logging
import os
from typing import Final

VARIABLE: Final = "SPECWB_TRACE"
"""Names the folder of the run; unset or empty: nothing happens."""
LEVEL: Final = "SPECWB_TRACE_LEVEL"
"""`basic` (the default), `digest` or `full`."""

_log = logging.getLogger("specwb.vllm")


def register() -> None:
    """Install the recorder where the environment asks for it; never raises into the engine."""
    folder = os.environ.get(VARIABLE, "")
    if not folder:
        return
    try:
        from workbench.adapters.vllm.install import install

        install(folder, os.environ.get(LEVEL) or "basic")
    except Exception as problem:  # noqa: BLE001 whatever fails here must not stop the engine
        _log.warning("nothing is recorded: %s: %s", type(problem).__name__, problem)
