"""All studies by their names on the command line; a study's module is imported when it is made."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from workbench.bench.studies.lab import Lab
    from workbench.bench.tables import Study


class Entry(NamedTuple):
    """A study: its module in this folder, and what it is."""

    module: str
    about: str


STUDIES: Final = {
    "accept-pos": Entry("positions", "acceptance by position, conditional and cumulative"),
    "budget": Entry("budget", "tree budgets: nodes 16 to 256, depth 4 to 16, chains"),
    "window": Entry("window", "drafter-only attention windows"),
    "distance": Entry("distance", "how far back the drafter looks"),
    "modes": Entry("modes", "execution modes: fused, eager, operator by operator"),
    "commit": Entry("commits", "replication and commit modes"),
    "vocab": Entry("vocabulary", "subsets of the draft vocabulary"),
    "stages": Entry("stages", "time per stage, measured apart"),
    "length": Entry("lengths", "context lengths 128 to 1,024 and the break-even point"),
    "tree-auto": Entry("tree_auto", "the chosen tree against fixed ones"),
    "generate": Entry("generate", "transformers.generate, greedy and with prompt lookup"),
}


def measure(name: str, lab: Lab) -> Study:
    """Make the study of a name."""
    study: Study = importlib.import_module(f"{__package__}.{STUDIES[name].module}").measure(lab)
    return study
