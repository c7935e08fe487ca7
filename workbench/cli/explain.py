"""`specwb explain [RULE]`: what a rule checks, why it matters, and where it was seen."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from tracing.errors import UsageError
from workbench.cli.complete import complete_rules
from workbench.cli.decode_options import format_option
from workbench.view.rule_index import RuleEntry, rule_index

OPERATOR_PREFIX: Final = "NPU"


@click.command(name="explain")
@click.argument("rule", required=False, shell_complete=complete_rules)
@format_option
def command(rule: str | None, output_format: str) -> int:
    """Explain a rule by id or name; without one, list all rules.

    The beginning of an id, e.g. MASK or NPU-FIA, lists its family.
    """
    every = [entry for entry in rule_index().values() if rule or entry.kind != "operator"]
    found = every if rule is None else _named(rule, every)
    if output_format == "json":
        click.echo(json.dumps([_as_json(entry) for entry in found], indent=1))
    elif len(found) == 1:
        click.echo(found[0].text.rstrip("\n"))
    else:
        click.echo("\n".join(_listing(found)))
        if rule is None:
            click.echo(f"Operator rules: specwb explain {OPERATOR_PREFIX}", err=True)
    return 0


def _named(word: str, every: Sequence[RuleEntry]) -> list[RuleEntry]:
    """Return the rules with this id or name, or all whose id begins so; case does not matter.

    Raises:
        UsageError: There is none; the sentence says what was probably meant.
    """
    wanted = word.strip().upper()
    exact = [entry for entry in every if wanted in (entry.id, entry.name.upper())]
    found = exact or [entry for entry in every if wanted and entry.id.startswith(wanted)]
    if not found:
        raise UsageError(f"no rule {word!r}; {_hint(wanted, every)}")
    return found


def _hint(wanted: str, every: Sequence[RuleEntry]) -> str:
    known = {text.upper(): text for entry in every for text in (entry.id, entry.name)}
    near = difflib.get_close_matches(wanted, known, n=2)
    if near:
        return f"did you mean {' or '.join(known[text] for text in near)}?"
    return "`specwb explain` lists all"


def _as_json(entry: RuleEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in ("id", "name", "kind", "summary", "text")}


def _listing(found: Sequence[RuleEntry]) -> Iterator[str]:
    width = max(len(entry.id) for entry in found)
    for entry in found:
        yield f"{entry.id:<{width}}  {entry.name}: {entry.summary}"
