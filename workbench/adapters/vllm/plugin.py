"""The entry point `vllm.general_plugins`: called by the engine in each of its processes."""

from __future__ import annotations

import logging
import os
from typing import Final

VARIABLE: Final = "SPECWB_TRACE"
"""Names the folder of the run; unset or empty: nothing happens."""

_log = logging.getLogger("specwb.vllm")


def register() -> None:
    """Install the recorder where the environment asks for it; never raises into the engine."""
    folder = os.environ.get(VARIABLE, "")
    if not folder:
        return
    try:
        from workbench.adapters.vllm.install import install
        from workbench.adapters.vllm.join import require_new
        from workbench.adapters.vllm.settings import settings_of

        settings = settings_of()
        require_new(settings)
        install(settings)
        _log.warning("specwb records this engine to %s (%s)", folder, settings.mode)
    except Exception as problem:  # noqa: BLE001 whatever fails here must not stop the engine
        _log.warning("nothing is recorded: %s: %s", type(problem).__name__, problem)
