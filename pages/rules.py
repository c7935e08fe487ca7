"""Writes the index of every rule from the rules, as data and as a page for docs.

`python -m pages.rules docs/rules.md` writes the page and the data file, which lies with its
reader, `workbench.view.rule_index`. A test fails when either is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from invariants.catalogue import CATALOGUE
from pages import invariants as docs
from workbench.judge.rules import RULES
from workbench.view.rule_index import INDEX, RuleEntry, RuleKind

_WATCHED: Final = (
    "Seen by `specwb diff --watch-indices`; the message says what the device does, with its source."
)

_STATIC: Final = (
    "For a path that declares `static_inputs`; looked at after each launch of verify. A captured graph "
    "replays what lies at the addresses of its capture."
)

KINDS: Final[dict[RuleKind, str]] = {
    "invariant": "Invariants ([with their pages](invariants/README.md))",
    "comparison": "Comparisons of two paths",
    "guard": "Guards in the code",
    "operator": "Contracts of Ascend's operators",
}
GUARDS: Final = (
    RuleEntry(
        "RUN-STAGE-RAISED",
        "stage-raised",
        "guard",
        "A stage of the path under test ended in an exception.",
        "The message is the exception's own, with the place in the port's code. The step ends here; what it "
        "gave until then is recorded.",
    ),
    RuleEntry(
        "RUN-STAGE-TIMEOUT",
        "stage-timeout",
        "guard",
        "A stage of the path under test did not end within `--stage-timeout`.",
        "The frames are those in which it was. The run ends here; what the step gave until then is recorded.",
    ),
    RuleEntry(
        "RUN-WEIGHTS-CHANGED",
        "weights-changed",
        "guard",
        "The weights that both paths share were written to during the run.",
        "They are digested before and after. Nothing that such a run shows holds.",
        scope="run",
    ),
    RuleEntry(
        "CACHE-TABLE-RANGE",
        "position-beyond-the-block-table",
        "guard",
        "A logical cache position has no block in the block table.",
        "Our paged cache refuses it. A device writes or reads outside the cache, unchecked.",
    ),
    RuleEntry(
        "CACHE-PATH-RANGE",
        "path-index-beyond-the-branch",
        "guard",
        "`path_indices` name a row that the branch cache does not have.",
        "Our commit refuses the gather. A device reads outside the cache, unchecked.",
    ),
    RuleEntry(
        "TREE-PARENT-RANGE",
        "parent-dereferenced-out-of-range",
        "guard",
        "The ancestor table was asked to follow a parent outside 0..N-1.",
        "Our tensorize refuses the gather; the invariant TREE001 says the same of a recorded step.",
    ),
    RuleEntry(
        "NPU-INDEX-NEGATIVE",
        "negative-index-value",
        "guard",
        "An index operator was given a negative value.",
        _WATCHED,
    ),
    RuleEntry(
        "NPU-INDEX-RANGE",
        "index-value-out-of-range",
        "guard",
        "An index operator was given a value at or past its bound.",
        _WATCHED,
    ),
    *(
        RuleEntry(rule, name, "guard", text, _STATIC)
        for rule, name, text in (
            (
                "NPU-STATIC-ADDRESS",
                "static-input-moved",
                "An input of verify that was declared static lies elsewhere than at the first launch.",
            ),
            (
                "NPU-STATIC-FORM",
                "static-input-reshaped",
                "An input of verify that was declared static has another shape, strides or dtype.",
            ),
            (
                "NPU-STATIC-OPERATOR",
                "static-input-not-what-the-operator-got",
                "An operator was given another tensor than the declared input.",
            ),
            (
                "NPU-STATIC-CONTENTS",
                "static-input-not-refreshed",
                "An input of verify that was declared static does not hold the step that is launched.",
            ),
        )
    ),
)
"""Rules of checks in the code that refuse to go on; each is named where it is raised."""


def entries() -> Iterator[RuleEntry]:
    """Yield every rule; needs torch, against whose tensors the operator contracts are written."""
    yield from map(docs.entry, CATALOGUE)
    for rule_id, rule in RULES.items():
        body = f"A violation has the verdict `{rule.verdict}`. Made by `specwb diff` and `specwb replay`."
        yield RuleEntry(rule_id, rule.name, "comparison", rule.sentence, body)
    yield from GUARDS
    yield from _contracts()


def _contracts() -> Iterator[RuleEntry]:
    from workbench.npu.operators import RULES as CONTRACTS

    for rule in CONTRACTS:
        body = (
            f"Operator: `{rule.operator}`, argument `{rule.argument}`.\n\nExpected: {rule.sentence}.\n\n"
            f"On the device: {rule.device}.\n\nSource: {rule.source}"
        )
        yield RuleEntry(rule.id, rule.operator, "operator", f"{rule.argument}: {rule.sentence}", body)


def index_text() -> str:
    """Return the data file.

    Raises:
        ValueError: Two rules have one id.
    """
    found = [asdict(entry) for entry in entries()]
    if len({entry["id"] for entry in found}) != len(found):
        raise ValueError("a rule id is given twice")
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def page() -> str:
    """Return a table of every rule, kind by kind, as Markdown."""
    parts = ["# Every rule that a finding can name\n\n`specwb explain ID` prints the whole page of a rule."]
    for kind, about in KINDS.items():
        rows = [
            f"| {entry.id} | {entry.name} | {entry.summary.replace('|', chr(92) + '|')} |"
            for entry in entries()
            if entry.kind == kind
        ]
        parts.append(f"## {about}\n\n| id | name | summary |\n|---|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    INDEX.write_text(index_text(), encoding="utf-8")
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
