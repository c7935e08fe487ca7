"""The share of rules and stages that looked at something, of those that were declared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from invariants.catalogue import BY_ID
from invariants.needs import columns_needed
from invariants.outcome import Counts
from workbench.judge.share import Part


def rules_and_stages(
    counts: Mapping[str, Counts], recorded: Collection[str], left_out: Collection[str] = ()
) -> tuple[Part, Part]:
    """Return how many of the rules that apply looked at a step, then the same of their stages.

    A rule applies where its columns were recorded or promised, the facts of the run that it asks for are
    known, and a step had something to look at. Rules that read no column, which hold of an empty row, do not
    count.

    Args:
        counts: Outcomes of one path, by rule id.
        recorded: Columns that any row of the path has, or that were promised.
        left_out: Rules that mean nothing on this path.
    """
    rules: dict[str, bool] = {}
    for rule_id, count in counts.items():
        if rule_id not in left_out and columns_needed(BY_ID[rule_id]) and _applies(count, recorded):
            rules[rule_id] = count.looked > 0
    stages: dict[str, bool] = {}
    for rule_id, looked in rules.items():
        stage = BY_ID[rule_id].stage
        stages[stage] = stages.get(stage, False) or looked
    return _part(rules.values()), _part(stages.values())


def _part(looked: Iterable[bool]) -> Part:
    every = list(looked)
    return Part(sum(every), len(every))


def _applies(count: Counts, recorded: Collection[str]) -> bool:
    if count.looked:
        return True
    if count.vacuous:
        return False  # where all was there, there was nothing to look at
    return all(name in recorded for name in count.missing)
