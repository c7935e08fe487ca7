"""Write docs/checkpoint-keys.md: what every key of config.json that is known to matter means here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from workbench.checkpoints.config_keys import (
    DRAFTER,
    EAGLE_BLOCK,
    MOE_TEACHER,
    SPECULATORS,
    TEACHER,
    KeyTable,
)
from workbench.checkpoints.suspicions import BLIND

INTRO = """# Keys of config.json

Written by `make pages` from `workbench/checkpoints/config_keys.py`. A key that is *read* is checked where it
is read. A *fixed* key changes what some reader computes; here it has the values of the second table, and
another value is refused. A *label* changes nothing that is computed. Null is as good as absence. A key in no
table is listed in the load report, as a warning: it was not read.

Tapped layers: ids are boundaries (the stream entering layer i) in the speculators layout and, elsewhere, at
the top level; in `eagle_config` they are outputs of layers, one earlier. Ids that equal the usual ones of the
other convention, or that only one convention can have, are read by that one. Where nothing decides, or no ids
are written, the report says so, with every verdict.
"""
OUTRO = """
Acceptance is held against the drafter's own probabilities: a trained drafter that is sure and never right
(another vocabulary map) is a warning. One that only became unsure is not: with exchanged thirds of `fc` the
drafter shipped first expected 18 acceptances and got 17, with exchanged gate and up 24 and 18."""


def page() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield INTRO
    tables = {
        "teacher": TEACHER, "teacher with experts": MOE_TEACHER, "drafter": DRAFTER,
        "speculators": SPECULATORS, "eagle_config": EAGLE_BLOCK,
    }  # fmt: skip
    yield "| object | read |\n| --- | --- |"
    for name, table in tables.items():
        yield f"| {name} | {_words(table.read)} |"
    yield "\n| fixed key | of | values here | another one would be |\n| --- | --- | --- | --- |"
    for key in sorted({key for table in tables.values() for key in table.fixed}):
        yield _fixed(key, tables)
    labels = frozenset().union(*(table.labels for table in tables.values()))
    yield f"\nLabels, besides token ids, dropouts and names that start with `_`: {_words(labels)}."
    yield "\n## What no check sees\n"
    yield "Both paths share the files, so comparing them shows nothing of these, nor does the load:\n"
    yield from (f"* {what}" for what in BLIND)
    yield OUTRO


def _fixed(key: str, tables: dict[str, KeyTable]) -> str:
    owners = [name for name, table in tables.items() if key in table.fixed]
    fixed = tables[owners[0]].fixed[key]
    values = ", ".join(f"`{value}`" for value in fixed.allowed) or "none"
    return f"| `{key}` | {', '.join(owners)} | {values} | {fixed.effect} |"


def _words(keys: frozenset[str]) -> str:
    return ", ".join(f"`{key}`" for key in sorted(keys))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
