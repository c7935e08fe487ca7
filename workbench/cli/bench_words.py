"""What `specwb bench` was asked for, read from its words."""

from __future__ import annotations

from collections.abc import Sequence

from tracing.distances import MAX_DIGITS
from tracing.errors import UsageError
from tracing.settings import PROPOSERS, DecodeSettings
from workbench.bench.kernels import OPERATORS
from workbench.bench.studies import NEEDS, STUDIES, subject
from workbench.cli.decode_options import eager_operators


def parse_proposers(words: Sequence[str]) -> tuple[str, ...]:
    """Read `--proposer`, in the order of `PROPOSERS`; without a word the first of them.

    Raises:
        UsageError: No such kind.
    """
    names = _listed(words)
    if "all" in names:
        return PROPOSERS
    unknown = sorted(names.difference(PROPOSERS))
    if unknown:
        raise UsageError(f"--proposer should name {', '.join(PROPOSERS)} or all, got {unknown[0]!r}")
    return tuple(name for name in PROPOSERS if name in names) or PROPOSERS[:1]


def parse_drafts(words: Sequence[str], proposers: Sequence[str]) -> dict[str, str]:
    """Read `--draft`: a directory for the only proposer, or `KIND=DIR`.

    Raises:
        UsageError: A directory of no kind, where there are several, or of a kind that is not measured.
    """
    drafts: dict[str, str] = {}
    for word in words:
        kind, equals, directory = word.partition("=")
        if not equals or kind not in PROPOSERS:
            if len(proposers) > 1:
                raise UsageError(f"--draft should be KIND=DIR with several proposers, got {word!r}")
            kind, directory = proposers[0], word
        if kind not in proposers:
            raise UsageError(f"--draft names {kind}, which --proposer does not")
        if kind in drafts:
            raise UsageError(f"--draft names a directory for {kind} twice")
        drafts[kind] = directory
    return drafts


def parse_tree(text: str) -> DecodeSettings | None:
    """Read `--tree`; None is auto.

    Raises:
        UsageError: Neither.
    """
    if text == "auto":
        return None
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < MAX_DIGITS for part in parts):
        raise UsageError(f"--tree should be auto or NODES/DEPTH/TOP_K, e.g. 60/7/10, got {text!r}")
    nodes, depth, top_k = map(int, parts)
    return DecodeSettings(tree_nodes=nodes, depth=depth, top_k=top_k)


def parse_eager(text: str) -> frozenset[str] | None:
    """Read `--eager`; None is auto.

    Raises:
        UsageError: An operator that is not there.
    """
    if text == "auto":
        return None
    return frozenset() if text == "none" else eager_operators(text) & frozenset(OPERATORS)


def parse_studies(words: Sequence[str], proposers: Sequence[str]) -> tuple[str, ...]:
    """Read `--study`, in the order of `STUDIES`; `all` are those that can be made of the proposers.

    Raises:
        UsageError: No such study, or one of another kind of drafter.
    """
    names, measured = _listed(words), dict.fromkeys(proposers)
    if "all" in names:
        return tuple(name for name in STUDIES if subject(name, measured) is not None)
    unknown = sorted(names - STUDIES.keys())
    if unknown:
        raise UsageError(f"--study should name {', '.join(STUDIES)} or all, got {unknown[0]!r}")
    for name in sorted(names):
        if subject(name, measured) is None:
            raise UsageError(f"--study {name} needs --proposer {' or '.join(NEEDS[name])}")
    return tuple(name for name in STUDIES if name in names)


def _listed(words: Sequence[str]) -> set[str]:
    return {name.strip() for word in words for name in word.split(",") if name.strip()}
