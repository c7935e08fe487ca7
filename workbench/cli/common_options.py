"""Kinds of options; commands that decode nothing need no more than these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]


def choice_option(*names: str, values: Sequence[str], text: str | None = None) -> Decorator:
    """Return an option of a few values, the first of which is the default."""
    return click.option(*names, type=click.Choice(values), default=values[0], show_default=True, help=text)


def number_option(
    name: str, default: int | None, text: str | None = None, *, least: int = 1, metavar: str | None = None
) -> Decorator:
    """Return an option of a whole number from `least` on."""
    number = click.IntRange(min=least)
    return click.option(name, type=number, default=default, show_default=True, metavar=metavar, help=text)
