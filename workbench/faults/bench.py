"""Benches: a pair and a prompt, and from them the job that has what a fault needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from workbench.faults.experiment import Alone, run_free
from workbench.faults.exported import export_tiny
from workbench.faults.placement import Placement
from workbench.faults.setup import Setup
from workbench.faults.tiny import tiny_pair, token_bytes

LONG: Final = 512


def _with_settings(setup: Setup, **settings: Any) -> Setup:
    return replace(setup, settings=replace(setup.settings, **settings))


def _pads(setup: Setup) -> Setup:
    """One level of candidates, and four rows more than that."""
    top_k = setup.settings.top_k
    return _with_settings(setup, depth=0, tree_nodes=top_k + 5)


def _long(setup: Setup) -> Setup:
    """The prompt again and again, to beyond 512 columns; two steps are enough."""
    prompt = (setup.prompt * LONG)[: LONG + 16]
    return _with_settings(replace(setup, prompt=prompt), max_new_tokens=4)


def _eos(setup: Setup) -> Setup:
    """A token that a clean run accepts from a draft becomes the end of sequence."""
    pair = replace(setup.pair, eos_token_ids=frozenset({accepted_token(setup)}))
    return replace(setup, pair=pair)


def _rejected_eos(setup: Setup) -> Setup:
    """A token that the first tree holds, and that no clean run emits, becomes the end of sequence."""
    clean = run_free(setup, Placement())
    token = min(clean.first_tree - set(clean.emitted))
    return replace(setup, pair=replace(setup.pair, eos_token_ids=frozenset({token})))


def _ties(setup: Setup) -> Setup:
    """A token that a clean run emits gets a twin with a higher id and the same row in the head."""
    emitted = run_free(setup, Placement()).emitted
    chosen = emitted[1]
    weights = dict(setup.pair.teacher_weights)
    head = weights["lm_head.weight"].clone()
    twin = next(token for token in range(len(head) - 1, chosen, -1) if token not in emitted)
    head[twin] = head[chosen]
    return replace(setup, pair=replace(setup.pair, teacher_weights={**weights, "lm_head.weight": head}))


def accepted_token(setup: Setup) -> int:
    """Return a token that a clean run accepts from a draft, the first of its kind in the text."""
    clean = run_free(setup, Placement())
    place = 1
    for num_accepted in clean.num_accepted:
        for token in clean.emitted[place : place + num_accepted]:
            if token not in clean.emitted[:place]:
                return token
        place += num_accepted + 1
    raise UsageError("the clean run accepts no draft, so that no end of sequence can be put into a path")


VARIANTS: Final[Mapping[str, Callable[[Setup], Setup]]] = {
    "plain": lambda setup: setup,
    "pads": _pads,
    "long": _long,
    "eos": _eos,
    "rejected_eos": _rejected_eos,
    "long_bfloat16": lambda setup: replace(_long(setup), dtype="bfloat16"),
    "ties": _ties,
    "length": lambda setup: _with_settings(setup, commit_mode="length"),
}
"""How the plain job is changed for each need."""


class Bench(Protocol):
    """Gives setups by need."""

    @property
    def name(self) -> str:
        """Name of the bench, for reports."""
        ...

    def setup(self, need: str) -> Setup:
        """Return the job that has what a fault needs, a key of `setup.NEEDS`."""
        ...

    def clean(self, need: str) -> Alone:
        """Return the same job decoded alone without a fault."""
        ...

    def export(self, folder: Path) -> tuple[Path, Path]:
        """Write the pair's checkpoints below `folder`; return the directories, teacher first."""
        ...


class TinyBench:
    """Two layers, twelve nodes, sixteen tokens: a run takes a moment."""

    name = "tiny"

    def setup(self, need: str) -> Setup:
        """Return the job that has what a fault needs, a key of `setup.NEEDS`."""
        return _tiny(need)

    def clean(self, need: str) -> Alone:
        """Return the same job decoded alone without a fault."""
        return _tiny_clean(need)

    def export(self, folder: Path) -> tuple[Path, Path]:
        """Write the pair's checkpoints below `folder`; return the directories, teacher first."""
        return export_tiny(folder)


@cache
def _tiny_clean(need: str) -> Alone:
    return run_free(_tiny(need), Placement())


@cache
def _tiny(need: str) -> Setup:
    plain = Setup(
        pair=tiny_pair(),
        prompt=(7, 19, 3, 50, 21),
        settings=DecodeSettings(tree_nodes=12, depth=3, top_k=4, max_new_tokens=16),
        token_bytes=token_bytes,
    )
    return VARIANTS[need](plain)
