"""What was doubtful of a run's models, at the load or as they ran: it goes with every verdict about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MOST: Final = 40
"""No load has as many checks; a manifest that was forged may."""


def load_warnings(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the warnings of the load report in a manifest, then those of the run itself.

    What is not of the right form is left out.
    """
    holder: object = manifest
    for key in ("models", "load_report", "checks"):
        holder = holder.get(key) if isinstance(holder, Mapping) else None
    checks = holder[:MOST] if isinstance(holder, list) else []
    of_load = tuple(
        f"{check['sentence']} [{check['id']}]"
        for check in checks
        if isinstance(check, Mapping)
        and check.get("status") == "warning"
        and {"sentence", "id"} <= check.keys()
    )
    of_run = manifest.get("warnings")
    told = of_run[:MOST] if isinstance(of_run, list) else []
    return (*of_load, *(each for each in told if isinstance(each, str)))
