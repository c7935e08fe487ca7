"""Lawful facts that a recording does not state, given beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tracing.errors import UsageError
from tracing.manifest_facts import table

SECTIONS: Final = ("limits", "model_facts", "requests")
"""Sections of a manifest that hold facts."""


def with_stated(manifest: Mapping[str, Any], stated: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a manifest with the facts that it lacks, and the names of those that were added.

    Args:
        manifest: Of the recording.
        stated: Sections by name, each a table of facts; a fact that the manifest has must be the same.

    Raises:
        UsageError: Another section, no table, or a fact that contradicts the manifest.
        TraceError: A section of the manifest is no table.
    """
    made, added = dict(manifest), list[str]()
    for section, facts in stated.items():
        if section not in SECTIONS or not isinstance(facts, Mapping):
            raise UsageError(f"facts should be tables named {', '.join(SECTIONS)}, got {section[:40]!r}")
        own = table(manifest, section)
        for name, value in facts.items():
            if own.get(name) is not None and own[name] != value:
                raise UsageError(
                    f"{section}.{name[:40]} is {str(own[name])[:40]} in the recording and "
                    f"{str(value)[:40]} in the facts that were given; leave it out, the recording counts"
                )
        new = {name: value for name, value in facts.items() if own.get(name) is None}
        made[section] = {**own, **new}
        added += [f"{section}.{name}" for name in new]
    return made, added
