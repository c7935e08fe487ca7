"""The static tree of Medusa heads that is fastest here: grown from measured accuracies, then timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from tracing.settings import DecodeSettings
from tracing.stages import DecodePath
from tracing.static_tree import RankPath, named_trees, static_tree
from workbench.lockstep.choice.costs import step_times
from workbench.lockstep.choice.decoders import Decoder, Stopwatch
from workbench.lockstep.choice.heads import accepted, accuracies, fan, grow, record_ranks, written
from workbench.lockstep.choice.run_off import run_off

SIZES: Final = (3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64)
"""Nodes, the root included."""
PUBLISHED: Final = ("mc_sim_7b_63", "pangu_stage2", "pangu_5heads_top10")
NUM_FINALISTS: Final = 4
QUIET: Final = 0.2
MAX_TOKENS: Final = 128


def static_settings(tree: str, base: DecodeSettings) -> DecodeSettings:
    """Return settings for a static tree, by name or written out."""
    return replace(base, static_tree=tree, tree_nodes=1 + len(static_tree(tree)))


@dataclass(frozen=True, slots=True)
class StaticEntry:
    """One static tree.

    Attributes:
        name: Published name, or `grown, N nodes`.
        tree: As `tracing.static_tree` reads it.
        num_accepted: Mean accepted tokens per step over the calibration texts.
        step_seconds: Measured time of a step.
    """

    name: str
    tree: str
    num_accepted: float
    step_seconds: float

    @property
    def token_seconds(self) -> float:
        """Predicted time per token."""
        return self.step_seconds / (1 + self.num_accepted)


@dataclass(frozen=True, slots=True)
class StaticTrees:
    """What was found, and the winner.

    Attributes:
        settings: With the winner.
        entries: All trees, the best by prediction first.
        measured: Finalists with measured seconds per token, fastest first.
        ranks: Of each calibration text.
        token: Seconds per token of teacher-only decoding.
    """

    settings: DecodeSettings
    entries: tuple[StaticEntry, ...]
    measured: tuple[tuple[StaticEntry, float], ...]
    ranks: tuple[Any, ...]
    token: float


@dataclass(frozen=True, slots=True)
class StaticTreeChooser:
    """Chooses a static tree on one engine.

    Attributes:
        base: Settings for all but the tree.
        make_path: Makes a path with other settings over the same models.
        decoder: Speculative decoding with such settings.
        greedy: Teacher-only decoding.
        stopwatch: Waits for the device.
        prompts: Calibration contexts, none of them measured later.
        num_heads: Heads of the drafter; trees that are deeper are left out.
        max_new_tokens: As they will be measured.
        progress: Called with what is being measured.
    """

    base: DecodeSettings
    make_path: Callable[[DecodeSettings], DecodePath]
    decoder: Callable[[DecodeSettings], Decoder]
    greedy: Decoder
    stopwatch: Stopwatch
    prompts: Sequence[Sequence[int]]
    num_heads: int
    max_new_tokens: int = MAX_TOKENS
    progress: Callable[[str], None] = lambda _: None

    def choose(self) -> StaticTrees:
        """Measure accuracies, grow trees, time a step of each, and let the best decode."""
        self.progress("accuracy of the Medusa heads")
        num_tokens = max(self.num_heads + 2, min(self.max_new_tokens, MAX_TOKENS))
        path = self.make_path(static_settings(written(fan(self.num_heads)), self.base))
        ranks = [record_ranks(path, prompt, num_tokens, self.num_heads) for prompt in self.prompts]
        self.progress("cost of static trees")
        trees = {f"grown, {len(paths) + 1} nodes": written(paths) for paths in self._grown(ranks)}
        trees |= {name: named_trees()[name] for name in PUBLISHED if self._fits(name)}
        typical = sorted(self.prompts, key=len)[len(self.prompts) // 2]
        entries = [self._entry(name, tree, ranks, typical) for name, tree in trees.items()]
        entries.sort(key=lambda one: one.token_seconds)
        self.progress("run-off of static trees")
        named = {one.name: one for one in (*entries[:NUM_FINALISTS], *self._default(entries))}
        decoders = {name: self.decoder(static_settings(one.tree, self.base)) for name, one in named.items()}
        measured = [(named[name], time) for name, time in run_off(decoders, self.prompts, num_tokens)]
        times = [self.greedy(typical, num_tokens).seconds_per_token or np.nan for _ in range(3)]
        return StaticTrees(
            static_settings(measured[0][0].tree, self.base),
            tuple(entries),
            tuple(measured),
            tuple(ranks),
            float(np.nanmin(times)),
        )

    def _grown(self, ranks: Sequence[Any]) -> list[list[RankPath]]:
        accuracy = accuracies(np.concatenate(ranks))
        return [grow(accuracy, size - 1) for size in SIZES]

    def _fits(self, name: str) -> bool:
        return max(map(len, static_tree(name))) <= self.num_heads

    def _default(self, entries: Sequence[StaticEntry]) -> list[StaticEntry]:
        return [one for one in entries if one.name == self.base.static_tree]

    def _entry(self, name: str, tree: str, ranks: Sequence[Any], prompt: Sequence[int]) -> StaticEntry:
        times = step_times(self.make_path(static_settings(tree, self.base)), prompt, self.stopwatch)
        seconds = float(np.quantile([sum(pair) for pair in times], QUIET))
        return StaticEntry(name, tree, float(np.mean(accepted(ranks, static_tree(tree)))), seconds)
