"""`docs/trace-columns.md`: every column of a step, and which rules it unlocks.

`python -m pages.trace_columns docs/trace-columns.md` writes it; a test fails when it is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from invariants.catalogue import BY_ID
from invariants.needs import columns_of_rules
from pages.glossary import trace_page, unlock_table
from tracing.conformance import MINIMAL_COLUMNS


def columns_page() -> str:
    """Return the page as Markdown."""
    rules = columns_of_rules()
    return "\n".join([trace_page(), _unlocks(rules), _minimal(rules), _rules(rules)])


def _unlocks(rules: Mapping[str, tuple[str, ...]]) -> str:
    return (
        "## What a column unlocks\n\n"
        "A rule is checked where every column that it needs is recorded, those of its prerequisites too; "
        "`specwb check` says for each other rule what was missing. Some rules also need facts of the run "
        "(`limits` and `settings` in the manifest), e.g. the vocabulary size.\n\n"
        f"{unlock_table(rules)}"
    )


def _minimal(rules: Mapping[str, tuple[str, ...]]) -> str:
    able = [rule for rule, columns in rules.items() if columns and set(columns) <= set(MINIMAL_COLUMNS)]
    names = " and ".join(f"`{name}`" for name in MINIMAL_COLUMNS)
    return (
        "## The minimal set\n\n"
        f"{names}: without them a recording says nothing about a tree, and "
        f"`tracing.conformance.check_recorder` does not accept it. They alone unlock {', '.join(able)}.\n"
        "`check_recorder(drive, invariants.needs.columns_of_rules())` names those that stay locked for your "
        "recorder.\n"
    )


def _rules(rules: Mapping[str, tuple[str, ...]]) -> str:
    lines = ["## What a rule needs\n", "| rule | columns |", "|---|---|"]
    for rule, columns in rules.items():
        alone = "statistics of the run" if BY_ID[rule].scope == "run" else "prompt, turn and step alone"
        needed = ", ".join(f"`{name}`" for name in columns) or alone
        lines.append(f"| [{rule}](invariants/{rule}.md) | {needed} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(columns_page(), encoding="utf-8")
