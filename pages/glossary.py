"""Documentation derived from the table of columns: the trace page and the glossary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tracing.columns import AXES, COLUMNS, Column
from tracing.moment import STAGES
from tracing.schema import FORMAT_VERSION, arrow_type


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


def unlock_table(rules: Mapping[str, Iterable[str]]) -> str:
    """Return a Markdown table that says which rules each column unlocks.

    Args:
        rules: Columns that each rule needs, by rule id.
    """
    needed = {rule: set(columns) for rule, columns in rules.items()}
    lines = ["| column | stage | needed by |", "|---|---|---|"]
    for column in COLUMNS:
        users = sorted(rule for rule, columns in needed.items() if column.name in columns)
        if users:
            lines.append(f"| `{column.name}` | {column.stage} | {', '.join(users)} |")
    return "\n".join(lines) + "\n"


def _table(columns: Iterable[Column]) -> str:
    lines = ["| column | shape | Arrow type | level | meaning | unit |", "|---|---|---|---|---|---|"]
    for column in columns:
        kind = str(arrow_type(column)).replace("<item: ", "<").replace("|", "\\|")
        shape = column.shape_text if column.is_list else ""
        lines.append(
            f"| `{column.name}` | {shape} | `{kind}` | {column.level} | {column.meaning} | {column.unit} |"
        )
    return "\n".join(lines)
