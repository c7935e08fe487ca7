"""Documentation of the rules as Markdown: one page per rule and an index, for the terminal and for docs/.

`python -m pages.invariants docs/invariants` writes the pages; a test fails when they are stale.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from invariants.catalogue import CATALOGUE, FAMILIES, MUTATIONS
from invariants.rule import HEADINGS, Rule
from tracing.columns import PER_NODE, PER_NODE_ROWS
from workbench.view.rule_index import RuleEntry

INTRODUCTION: Final = """\
Each has a stable id and the name of the defect. A rule reads trace columns and its outcome is *held*,
*violated* or *not checked*: a column is missing, a rule that it waits for does not hold, or the step has
nothing for it to look at. Only the family STAT sees a drafter that is wrong while the output is right.

What no law over one path's row can see, because nothing in the row depends on it: the token of a leaf that
was rejected, a beam that grew no node, a score or a logit that is off by a little, the digest of a row that
was not kept, where attention looked within the context, times, and the name of a kernel. `specwb diff`
holds tokens, beams, scores, logits and rows against the reference as they are made; `specwb check` holds
both rows of a staged run against each other.
"""


def sections(rule: Rule) -> dict[str, str]:
    """Return the summary under the empty heading, and the text under each heading of the docstring."""
    found: dict[str, list[str]] = {"": []}
    heading = ""
    for line in rule.documentation.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ").strip()
            found[heading] = []
        else:
            found[heading].append(line)
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def facts(rule: Rule) -> tuple[str, ...]:
    """Return what a rule reads, where it runs and what it catches, a line of Markdown each."""
    found = [
        f"* **Stage:** {rule.stage} · **scope:** {rule.scope} · **severity:** {rule.severity}",
        f"* **Reads:** {_code(rule.reads or rule.inputs)}",
    ]
    if rule.optional:
        found.append(f"* **Reads if there:** {_optional(rule)}")
    if rule.requires:
        found.append(f"* **Waits for:** {', '.join(rule.requires)}")
    mutations = tuple(mutation.name for mutation in MUTATIONS if mutation.breaks == rule.id)
    if mutations:
        found.append(f"* **Caught mutations:** {_code(mutations)}")
    return tuple(found)


def entry(rule: Rule) -> RuleEntry:
    """Return a rule as the index has it; its text is the rule's page."""
    found = sections(rule)
    body = "\n\n".join(f"## {heading}\n\n{found[heading]}" for heading in HEADINGS)
    about = {name: getattr(rule, name) for name in ("stage", "scope", "severity")}
    return RuleEntry(rule.id, rule.name, "invariant", found[""], body, facts=facts(rule), **about)


def index() -> str:
    """Return a table of all rules, family by family."""
    parts = ["# Invariants", f"{len(CATALOGUE)} rules. {INTRODUCTION.strip()}"]
    for family, (about, _) in FAMILIES.items():
        rows = [
            f"| [{rule.id}]({rule.id}.md) | {rule.name} | {rule.stage} | {rule.scope} | {rule.severity} |"
            for rule in CATALOGUE
            if rule.family == family
        ]
        head = "| id | name | stage | scope | severity |\n|---|---|---|---|---|\n"
        parts.append(f"## {family}: {about}\n\n{head}" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Return all pages by file name."""
    return {"README.md": index()} | {f"{rule.id}.md": entry(rule).text for rule in CATALOGUE}


def write(folder: Path) -> None:
    """Write all pages into a folder and remove pages of rules that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    current = pages()
    for old in folder.glob("*.md"):
        if old.name not in current:
            old.unlink()
    for name, text in current.items():
        (folder / name).write_text(text, encoding="utf-8")


def _optional(rule: Rule) -> str:
    """Return the columns that a rule reads if they are there; all of one kind by one word."""
    per_node = {*PER_NODE, *PER_NODE_ROWS}.difference(rule.inputs)
    if not per_node <= set(rule.optional):
        return _code(rule.optional)
    others = tuple(name for name in rule.optional if name not in per_node)
    return "every other column per node" + (f", {_code(others)}" if others else "")


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing but the run"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
