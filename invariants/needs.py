"""Which trace columns each rule needs, its prerequisites' included: what an engine gains by recording one."""

from __future__ import annotations

from functools import cache

from invariants.catalogue import BY_ID, CATALOGUE
from invariants.inputs import EARLIER
from invariants.rule import Rule
from tracing.columns import COLUMN_BY_NAME, KEY_COLUMNS


@cache
def columns_of_rules() -> dict[str, tuple[str, ...]]:
    """Return, by rule id, the columns without which a rule is never checked; keys are always there.

    Pass it to `tracing.conformance.check_recorder` to learn which rules stay locked. Rules over statistics of
    the whole run name no column, and facts of the run (limits in the manifest) are not listed.
    """
    return {rule.id: columns_needed(rule) for rule in CATALOGUE}


def columns_needed(rule: Rule) -> tuple[str, ...]:
    """Return the columns of one rule and of the rules that must hold before it, in the order of the trace."""
    needed: set[str] = set()
    waiting, seen = [rule], {rule.id}
    while waiting:
        one = waiting.pop()
        needed |= {_column(name) for name in (*one.inputs, *one.reads)}
        fresh = set(one.requires) - seen
        waiting += [BY_ID[rule_id] for rule_id in fresh]
        seen |= fresh
    return tuple(name for name in COLUMN_BY_NAME if name in needed and name not in KEY_COLUMNS)


@cache
def columns_read() -> tuple[str, ...]:
    """Return every column that a rule reads, in the order of the trace.

    No argument names `launch_refused`, but a rule asks whether it is recorded, nor `batch_row`, by which
    statistics are kept, nor `proposer`, which tells why a draft has no search.
    """
    unnamed = {*KEY_COLUMNS, "launch_refused", "batch_row", "proposer"}
    read = {_column(name) for rule in CATALOGUE for name in rule.arguments} | unnamed
    return tuple(name for name in COLUMN_BY_NAME if name in read)


def _column(argument: str) -> str:
    """Return the column that an argument reads, of this step or an earlier one; some read none."""
    prefixed = next((prefix for prefix in EARLIER if argument.startswith(prefix)), "")
    return argument.removeprefix(prefixed)
