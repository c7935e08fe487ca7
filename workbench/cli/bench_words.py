"""What `specwb bench` was asked for, read from its words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tracing.distances import MAX_DIGITS
from tracing.errors import UsageError
from tracing.settings import AS_IS, PROPOSERS, DecodeSettings
from workbench.bench.studies import NEEDS, STUDIES, fits_weights, subject
from workbench.cli.common_options import comma_separated
from workbench.cli.decode_options import AUTO, eager_operators
from workbench.lockstep.choice.kernels import OPERATORS

BOUND: Final = re.compile(r"0|0?\.[0-9]{1,9}|0\.")
"""A probability below 1 in plain digits."""


def parse_proposers(words: Sequence[str]) -> tuple[str, ...]:
    """Read `--proposer`, in the order of `PROPOSERS`, `auto` last; without a word the first of them.

    Raises:
        UsageError: No such kind.
    """
    names, kinds = set(comma_separated(words)), (*PROPOSERS, AUTO)
    if "all" in names:
        return kinds
    unknown = sorted(names.difference(kinds))
    if unknown:
        raise UsageError(f"--proposer should name {', '.join(kinds)} or all, got {unknown[0]!r}")
    return tuple(name for name in kinds if name in names) or kinds[:1]


def parse_drafts(words: Sequence[str], proposers: Sequence[str]) -> dict[str, str]:
    """Read `--draft`: a directory for the only proposer, or `KIND=DIR`.

    Raises:
        UsageError: A directory of no kind, where there are several, or of a kind that is not measured.
    """
    drafts: dict[str, str] = {}
    for word in _directories(words):
        kind, equals, directory = word.partition("=")
        if not equals or kind not in PROPOSERS:
            if len(proposers) > 1 or AUTO in proposers:
                raise UsageError(f"--draft should be KIND=DIR with several proposers, got {word!r}")
            kind, directory = proposers[0], word
        if kind not in proposers and AUTO not in proposers:
            raise UsageError(f"--draft names {kind}, which --proposer does not")
        if kind in drafts:
            raise UsageError(f"--draft names a directory for {kind} twice")
        drafts[kind] = directory
    return drafts


def _directories(words: Sequence[str]) -> list[str]:
    """Return the words, a list of `KIND=DIR,KIND=DIR` apart."""
    apart: list[str] = []
    for word in words:
        parts = word.split(",")
        all_named = all(part.partition("=")[0].strip() in PROPOSERS for part in parts)
        apart += [part.strip() for part in parts] if all_named else [word]
    return apart


def parse_auto(options: Mapping[str, Any], proposers: Sequence[str]) -> dict[str, Any]:
    """Read `--policy` and `--measured`, which `auto` alone has; it takes weights as they are.

    Raises:
        UsageError: They are given without it, or other weights with it.
    """
    if AUTO in proposers and options["weights"] != AS_IS:
        raise UsageError("--proposer auto takes the weights of its policy's teachers as they are")
    given = {name: options[name] for name in ("policy", "measured")}
    for name, word in given.items():
        if word is not None and AUTO not in proposers:
            raise UsageError(f"--{name} goes with --proposer auto")
    return {name: None if word is None else Path(word) for name, word in given.items()}


def parse_tree(text: str) -> DecodeSettings | None:
    """Read `--tree`; None is auto.

    Raises:
        UsageError: Neither.
    """
    if text == "auto":
        return None
    parts = text.split("/")
    shape, bound = parts[:3], "".join(parts[3:]) or "0"
    is_shape = len(shape) == 3 and all(part.isdecimal() and len(part) < MAX_DIGITS for part in shape)
    if not is_shape or len(parts) > 4 or not BOUND.fullmatch(bound):
        raise UsageError(
            "--tree should be auto or NODES/DEPTH/TOP_K, e.g. 60/7/10, or with a bound below which a search "
            f"ends, e.g. 8/6/2/0.15, got {text!r}"
        )
    nodes, depth, top_k = map(int, shape)
    return DecodeSettings(tree_nodes=nodes, depth=depth, top_k=top_k, stop_below=float(bound))


def parse_eager(text: str) -> frozenset[str] | None:
    """Read `--eager`; None is auto.

    Raises:
        UsageError: An operator that is not there.
    """
    if text == "auto":
        return None
    return frozenset() if text == "none" else eager_operators(text) & frozenset(OPERATORS)


def parse_studies(words: Sequence[str], proposers: Sequence[str], weights: str = AS_IS) -> tuple[str, ...]:
    """Read `--study`, in the order of `STUDIES`; `all` are those that can be made of drafters and weights.

    Raises:
        UsageError: No such study, or one of another kind of drafter or of other weights.
    """
    names, measured = set(comma_separated(words)), dict.fromkeys(proposers)
    if "all" in names:
        return tuple(
            name
            for name in STUDIES
            if subject(name, measured) is not None and fits_weights(name, in_int4=weights != AS_IS)
        )
    unknown = sorted(names - STUDIES.keys())
    if unknown:
        raise UsageError(f"--study should name {', '.join(STUDIES)} or all, got {unknown[0]!r}")
    for name in sorted(names):
        if subject(name, measured) is None:
            raise UsageError(f"--study {name} needs --proposer {' or '.join(NEEDS[name])}")
        if not fits_weights(name, in_int4=weights != AS_IS):
            raise UsageError(f"--study {name} needs --weights {'w4a16' if weights == AS_IS else AS_IS}")
    return tuple(name for name in STUDIES if name in names)
