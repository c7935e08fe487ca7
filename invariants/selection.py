"""Which rules to run: ids, names or family letters, as a user writes them in `[tool.specwb]`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from invariants.catalogue import CATALOGUE
from invariants.rule import Rule
from invariants.thresholds import Thresholds
from tracing.errors import UsageError


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user asked for.

    Attributes:
        select: Ids, names or beginnings of ids (`MASK`, `KV00`); empty means every rule.
        ignore: The same, taken away afterwards.
        thresholds: Limits of the statistics rules.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)

    def rules(self) -> tuple[Rule, ...]:
        """Return the selected rules in catalogue order.

        Raises:
            UsageError: A word that names no rule.
        """
        chosen = {rule.id for word in self.select for rule in rules_named(word)}
        left_out = {rule.id for word in self.ignore for rule in rules_named(word)}
        return tuple(
            rule for rule in CATALOGUE if (not self.select or rule.id in chosen) and rule.id not in left_out
        )


def rules_named(word: str) -> tuple[Rule, ...]:
    """Return the rules that an id, a name or the beginning of an id names; case does not matter.

    Raises:
        UsageError: It names none; the message suggests what was probably meant.
    """
    upper = word.strip().upper()
    found = tuple(
        rule for rule in CATALOGUE if upper and (rule.id.startswith(upper) or rule.name.upper() == upper)
    )
    if not found:
        known = {rule.id for rule in CATALOGUE} | {rule.family for rule in CATALOGUE}
        names = {rule.name for rule in CATALOGUE}
        near = difflib.get_close_matches(upper, sorted(known), n=1)
        near = near or difflib.get_close_matches(word.strip().lower(), sorted(names), n=1)
        hint = f"did you mean {near[0]}?" if near else "`specwb explain` lists them"
        raise UsageError(f"no invariant {word!r}; {hint}")
    return found


def read_selection(pyproject: Mapping[str, Any]) -> Selection:
    """Return what `[tool.specwb]` of a parsed pyproject.toml asks for; every rule when it is not there.

    Raises:
        UsageError: An unknown key, a value of the wrong type, or a word that names no rule.
    """
    table = _table(_table(pyproject, "tool"), "specwb")
    _refuse_unknown("[tool.specwb]", table, ("select", "ignore", "thresholds"))
    selection = Selection(
        select=_words(table, "select"),
        ignore=_words(table, "ignore"),
        thresholds=_thresholds(_table(table, "thresholds")),
    )
    selection.rules()
    return selection


def _table(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a table of the file, empty when absent."""
    value = mapping.get(key, {})
    if not isinstance(value, Mapping):
        raise UsageError(f"{key} in pyproject.toml should be a table, got {value!r}")
    return value


def _words(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return a list of words."""
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise UsageError(f"{key} in [tool.specwb] should be a list of rule ids, got {value!r}")
    return tuple(value)


def _thresholds(table: Mapping[str, Any]) -> Thresholds:
    """Return the limits that the file changes, the others as they are."""
    defaults = Thresholds()
    where = "[tool.specwb.thresholds]"
    _refuse_unknown(where, table, tuple(each.name for each in fields(Thresholds)))
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{key} in {where} should be a number, got {value!r}")
        if isinstance(getattr(defaults, key), int) and not isinstance(value, int):
            raise UsageError(f"{key} in {where} should be a whole number, got {value!r}")
    return Thresholds(**table)


def _refuse_unknown(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise for an unknown key."""
    known = tuple(known)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise UsageError(f"{where} has no key {key!r}; {hint}")
