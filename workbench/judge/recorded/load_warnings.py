"""What was doubtful when the models of a recorded run were loaded: it goes with every verdict about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MOST: Final = 40
"""No load has as many checks; a manifest that was forged may."""


def load_warnings(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the warnings of the load report in a manifest, as far as they are of the right form."""
    holder: object = manifest
    for key in ("models", "load_report", "checks"):
        holder = holder.get(key) if isinstance(holder, Mapping) else None
    checks = holder[:MOST] if isinstance(holder, list) else []
    return tuple(
        f"{check['sentence']} [{check['id']}]"
        for check in checks
        if isinstance(check, Mapping)
        and check.get("status") == "warning"
        and {"sentence", "id"} <= check.keys()
    )
