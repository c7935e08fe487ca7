"""Static trees: the paths of ranks that are tried at every step, by name or written out as `0 1 0.0 1.0`."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from tracing.errors import UsageError
from tracing.files import open_regular

WIDTH: Final = 10
"""Candidates per head; a rank is below it."""

MAX_CHOICES: Final = 100_000
"""Longest file of choices, in characters."""

RankPath = tuple[int, ...]
_PATH: Final = re.compile(r"\d{1,3}(\.\d{1,3})*\Z")


@cache
def named_trees() -> dict[str, str]:
    """Return the named trees, as published for Medusa heads of several teachers, each written out."""
    text = (files("tracing") / "static_trees.json").read_text("utf-8")
    trees: dict[str, str] = json.loads(text)
    return trees


def static_tree(text: str) -> tuple[RankPath, ...]:
    """Return the paths of a tree below the root, shorter ones first, then by ranks.

    A path is the rank that each head's token has, from the root down: `0.2` is the third best token of the
    second head after the best of the first.

    Raises:
        UsageError: Neither a name nor paths, or a tree that cannot be: a path given twice or without the path
            above it, or a rank that is not below `WIDTH`.
    """
    written = named_trees().get(text, text).replace(",", " ").split()
    bad = [path for path in written if not _PATH.match(path)]
    if bad or not written:
        names = ", ".join(named_trees())
        raise UsageError(
            f"static_tree should be one of {names}, or paths like '0 1 0.0', got {(bad or [text])[0][:80]!r}"
        )
    paths = sorted((tuple(map(int, path.split("."))) for path in written), key=lambda path: (len(path), path))
    require_tree(paths)
    return tuple(paths)


def read_choices(path: Path) -> str:
    """Read a file of choices: lists of ranks in JSON, as Medusa's code has them, or paths as text.

    Returns:
        The tree as `static_tree` takes it.

    Raises:
        UsageError: It cannot be read, is larger than a tree can be, or holds neither.
    """
    try:
        with open_regular(path) as file:
            text = file.read(MAX_CHOICES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"cannot read the static tree {path}: {problem}") from None
    if len(text) > MAX_CHOICES:
        raise UsageError(f"{path} holds more than {MAX_CHOICES} characters; no static tree is as large")
    if not text.lstrip().startswith("["):
        return " ".join(text.split())
    try:
        choices = json.loads(text)
    except (ValueError, RecursionError):
        choices = None
    if not isinstance(choices, list) or not all(map(_is_ranks, choices)):
        raise UsageError(f"{path} should hold lists of ranks, e.g. [[0], [1], [0, 0]]")
    return " ".join(".".join(map(str, choice)) for choice in choices)


def _is_ranks(choice: object) -> bool:
    return isinstance(choice, list) and bool(choice) and all(type(rank) is int for rank in choice)


def require_tree(paths: list[RankPath]) -> None:
    """Refuse paths that are no tree.

    Raises:
        UsageError: Names the first path that is wrong.
    """
    seen: set[RankPath] = set()
    for path in paths:
        shown = ".".join(map(str, path))
        if path in seen:
            raise UsageError(f"static_tree should name each path once, got {shown} twice")
        if len(path) > 1 and path[:-1] not in seen:
            above = ".".join(map(str, path[:-1]))
            raise UsageError(f"static_tree should name the path above each path, got {shown} without {above}")
        if path[-1] >= WIDTH:
            raise UsageError(f"ranks of static_tree should be below {WIDTH}, got {shown}")
        seen.add(path)


def require_heads(paths: tuple[RankPath, ...], num_heads: int) -> None:
    """Refuse a tree that is deeper than there are heads.

    Raises:
        UsageError: As said.
    """
    depth = max(map(len, paths))
    if depth > num_heads:
        raise UsageError(f"static_tree should be at most {num_heads} deep, one level per head, got {depth}")
