"""`docs/trace-columns.md`: every column of a step, and which rules it unlocks.

`python -m pages.trace_columns docs/trace-columns.md` writes it; a test fails when it is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from invariants.catalogue import BY_ID
from invariants.needs import columns_of_rules
from tracing.columns import AXES, COLUMNS, Column
from tracing.conformance import MINIMAL_COLUMNS
from tracing.moment import STAGES
from tracing.schema import FORMAT_VERSION, arrow_type

_UNLOCKS: Final = (
    "A rule is checked where every column that it needs is recorded, those of its prerequisites too; "
    "`specwb check` says for each other rule what was missing. Some rules also need facts of the run "
    "(`limits` and `settings` in the manifest), e.g. the vocabulary size.\n"
)


def columns_page() -> str:
    """Return the page as Markdown."""
    rules = columns_of_rules()
    return "\n".join([trace_page(), unlock_table(rules), _minimal(rules), _rules(rules)])


def trace_page() -> str:
    """Return the documentation page of the step columns as Markdown."""
    parts = [
        f"# Columns of a step (trace format {FORMAT_VERSION})",
        "One row per step and path. Null means not recorded. More than one axis is stored flat, row-major.",
        "A row with a `row_kind` is no step: readers leave it out unless asked for every row.",
        "\n".join(f"- **{letter}**: {meaning}" for letter, meaning in AXES.items()),
    ]
    for stage in ("any", *STAGES):
        columns = [column for column in COLUMNS if column.stage == stage]
        parts.append(f"## {stage if stage != 'any' else 'of no single stage'}\n\n{_table(columns)}")
    return "\n\n".join(parts) + "\n"


def _table(columns: Iterable[Column]) -> str:
    lines = ["| column | shape | Arrow type | level | meaning | unit |", "|---|---|---|---|---|---|"]
    for column in columns:
        kind = str(arrow_type(column)).replace("<item: ", "<").replace("|", "\\|")
        shape = column.shape_text if column.is_list else ""
        lines.append(
            f"| `{column.name}` | {shape} | `{kind}` | {column.level} | {column.meaning} | {column.unit} |"
        )
    return "\n".join(lines)


def unlock_table(rules: Mapping[str, tuple[str, ...]]) -> str:
    """Return which rules each column unlocks, as Markdown.

    Args:
        rules: Columns that each rule needs, by rule id.
    """
    lines = [
        "## What a column unlocks\n",
        _UNLOCKS,
        "| column | stage | needed by |",
        "|---|---|---|",
    ]
    for column in COLUMNS:
        users = sorted(rule for rule, columns in rules.items() if column.name in columns)
        if users:
            lines.append(f"| `{column.name}` | {column.stage} | {', '.join(users)} |")
    return "\n".join(lines) + "\n"


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
