"""Axes of a plan: the options of a lockstep run that `--over` may vary, and how each is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tracing.errors import UsageError
from tracing.settings import (
    ACCEPTANCES,
    COMMIT_MODES,
    EAGER_OPERATORS,
    KV_LAYOUTS,
    LOOKUP_RULES,
    PROPOSERS,
    RUNGS,
    USUAL_TREE_NODES,
    DecodeSettings,
    require_one_of,
    require_operators,
)
from tracing.static_tree import static_tree
from workbench.checkpoints.quantised import parse_weights

DTYPES: Final = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the values of a case come to.

    Attributes:
        proposer, dtype, weights, rung: As in `specwb diff`.
    """

    settings: DecodeSettings
    proposer: str = "eagle3"
    dtype: str = "float32"
    weights: str = "as-is"
    rung: str = RUNGS[0]
    eager: frozenset[str] = field(default_factory=frozenset)


Read = Callable[[str], Mapping[str, Any]]
"""What a value of an axis changes: names of settings or of `RunOptions` to values."""


def _words(name: str, allowed: Sequence[str]) -> Read:
    def read(text: str) -> Mapping[str, Any]:
        require_one_of(name, text, allowed)
        return {name: text}

    return read


def _plain(name: str, parse: Callable[[str], Any]) -> Read:
    return lambda text: {name: parse(text)}


def _tree(text: str) -> Mapping[str, Any]:
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise UsageError(f"a tree should be NODES/DEPTH/TOP_K, e.g. 24/4/6, got {text!r}")
    return dict(zip(("tree_nodes", "depth", "top_k"), map(int, parts), strict=True))


def _eager(text: str) -> Mapping[str, Any]:
    names = {"none": (), "all": EAGER_OPERATORS}.get(text, tuple(text.split("+")))
    require_operators(set(names))
    return {"eager": frozenset(names)}


def _weights(text: str) -> Mapping[str, Any]:
    parse_weights(text)
    return {"weights": text}


AXES: Final[Mapping[str, Read]] = {
    "tree": _tree,
    "static_tree": _plain("static_tree", str),
    "dtype": _words("dtype", DTYPES),
    "kv_layout": _words("kv_layout", KV_LAYOUTS),
    "commit_mode": _words("commit_mode", COMMIT_MODES),
    "proposer": _words("proposer", PROPOSERS),
    "reference": lambda text: {"rung": _words("rung", RUNGS)(text)["rung"]},
    "weights": _weights,
    "eager": _eager,
    "block_size": _plain("block_size", int),
    "window": _plain("window", int),
    "lookup_rule": _words("lookup_rule", LOOKUP_RULES),
    "acceptance": _words("acceptance", ACCEPTANCES),
    "temperature": _plain("temperature", float),
    "top_p": _plain("top_p", float),
    "max_new_tokens": _plain("max_new_tokens", int),
}
"""Name of an axis to how its values are read."""
OF_RUN: Final = ("proposer", "dtype", "weights", "rung", "eager")


def _read(axis: str, text: str) -> Mapping[str, Any]:
    """Return what a value changes.

    Raises:
        UsageError: It cannot be.
    """
    try:
        return AXES[axis](text)
    except ValueError:
        raise UsageError(f"axis {axis} cannot be {text!r}: a number is expected") from None


def parse_axes(text: str) -> dict[str, list[str]]:
    """Read `tree=24/4/6,12/3/4,dtype=float32`: a word with `=` begins an axis, the others are its values.

    Raises:
        UsageError: An unknown axis, no value, a value twice, or one that cannot be.
    """
    axes: dict[str, list[str]] = {}
    name = ""
    for word in text.replace(";", ",").replace(" ", ",").split(","):
        axis, equals, value = word.rpartition("=")
        if equals:
            require_one_of("an axis", axis, tuple(AXES))
            name = axis
        if word and not (name and value and value not in axes.setdefault(name, [])):
            raise UsageError(
                f"--over should be AXIS=VALUE,VALUE,AXIS=VALUE with each value once, got {word!r}"
            )
        if word:
            _read(name, value)
            axes[name].append(value)
    return axes


def options_of(over: Mapping[str, str], max_new_tokens: int) -> RunOptions:
    """Return what a case's values come to.

    Raises:
        UsageError: A value that cannot be, by itself or beside the others.
    """
    changed: dict[str, Any] = {"max_new_tokens": max_new_tokens}
    for name, value in over.items():
        require_one_of("an axis", name, tuple(AXES))
        changed |= _read(name, value)
    of_run = {name: changed.pop(name) for name in OF_RUN if name in changed}
    proposer = of_run.get("proposer", PROPOSERS[0])
    if proposer == "medusa":
        tree = changed.get("static_tree", DecodeSettings().static_tree)
        changed["tree_nodes"] = 1 + len(static_tree(tree))
    elif proposer in USUAL_TREE_NODES:
        changed.setdefault("tree_nodes", USUAL_TREE_NODES[proposer])
    return RunOptions(DecodeSettings(**changed), **of_run)
