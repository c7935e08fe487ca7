"""Kinds of options; commands that decode nothing need no more than these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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


def option_set(*options: Decorator) -> Decorator:
    """Return one decorator that adds several options, in order."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def comma_separated(words: Iterable[str]) -> list[str]:
    """Return the parts of comma-separated words, without spaces around them."""
    return [part.strip() for word in words for part in word.split(",") if part.strip()]
