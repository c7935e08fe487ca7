"""`specwb explain [RULE]`: what a rule checks, why it matters, and where it was seen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import click

from workbench.cli.decode_options import format_option
from workbench.cli.rule_pages import OPERATOR_PREFIX, RulePage, pages_named, plain_pages


@click.command(name="explain")
@click.argument("rule", required=False)
@format_option
def command(rule: str | None, output_format: str) -> int:
    """Explain a rule by id or name; without one, list all rules.

    The beginning of an id, e.g. MASK or NPU-FIA, lists its family.
    """
    pages = plain_pages() if rule is None else pages_named(rule)
    if output_format == "json":
        click.echo(json.dumps([page.as_json() for page in pages], indent=1))
    elif len(pages) == 1:
        click.echo(pages[0].text.rstrip("\n"))
    else:
        click.echo("\n".join(_listing(pages)))
        if rule is None:
            click.echo(f"Operator rules: specwb explain {OPERATOR_PREFIX}", err=True)
    return 0


def _listing(pages: Sequence[RulePage]) -> Iterator[str]:
    width = max(len(page.id) for page in pages)
    for page in pages:
        yield f"{page.id:<{width}}  {page.name}: {page.summary}"
