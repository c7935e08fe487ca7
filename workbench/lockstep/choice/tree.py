"""`--tree auto`: predict every tree's speed from costs and acceptance, then time the best ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from tracing.settings import DecodeSettings
from workbench.lockstep.choice.acceptance import Acceptance, record_positions
from workbench.lockstep.choice.costs import MakePath, StepCosts, measure_costs
from workbench.lockstep.choice.decoders import Decoder, Stopwatch
from workbench.lockstep.choice.run_off import run_off

MAX_DEPTH: Final = 9
TREE_NODES: Final = (3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)
STOPS: Final = (0.0, 0.15)
"""Values of `stop_below`: from 0.1 to 0.2 one is as good as the next."""
NUM_FINALISTS: Final = 4
MAX_TOKENS: Final = 128
"""Calibration texts are as long as the measured ones, up to this: long texts loop, and loops accept more."""
APART: Final = 2
"""Levels by which the other chains of the run-off differ from the best."""
NUM_SIZES: Final = 3
"""Trees of other sizes in the run-off."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One tree, predicted.

    Attributes:
        settings: Its shape.
        num_accepted: Mean accepted tokens per step over the calibration texts.
        step_seconds: Predicted time of a step.
        speedup: Predicted tokens per second over those of greedy decoding, prefill left out.
    """

    settings: DecodeSettings
    num_accepted: float
    step_seconds: float
    speedup: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """The chosen tree and why.

    Attributes:
        settings: The winner.
        predictions: All trees, best first.
        measured: Finalists with measured seconds per token, best first.
        costs: What the predictions are based on.
    """

    settings: DecodeSettings
    predictions: tuple[Prediction, ...]
    measured: tuple[tuple[Prediction, float], ...]
    costs: StepCosts

    def as_json(self) -> dict[str, Any]:
        """Return plain data for the manifest."""
        return {
            "tree": shape_name(self.settings),
            "costs": self.costs.as_json(),
            "finalists": [
                {
                    "tree": shape_name(one.settings),
                    "num_accepted": one.num_accepted,
                    "step_ms": 1e3 * one.step_seconds,
                    "predicted_speedup": one.speedup,
                    "measured_token_ms": 1e3 * seconds,
                }
                for one, seconds in self.measured
            ],
        }


@dataclass(frozen=True, slots=True)
class TreeChooser:
    """Chooses a tree on one engine.

    Attributes:
        make_path: Makes a path with other settings over the same models.
        decoder: Speculative decoding with such settings.
        greedy: Teacher-only decoding on the same engine.
        stopwatch: Waits for the device.
        prompts: Calibration contexts, none of them measured later.
        max_top_k: The draft vocabulary allows no more beams.
        max_new_tokens: As they will be measured.
        progress: Called with what is being measured.
    """

    make_path: MakePath
    decoder: Callable[[DecodeSettings], Decoder]
    greedy: Decoder
    stopwatch: Stopwatch
    prompts: Sequence[Sequence[int]]
    max_top_k: int
    max_new_tokens: int = MAX_TOKENS
    progress: Callable[[str], None] = lambda _: None

    @property
    def num_tokens(self) -> int:
        """Tokens of each calibration text."""
        return max(MAX_DEPTH + 3, min(self.max_new_tokens, MAX_TOKENS))

    def choose(self) -> Chosen:
        """Measure, predict, and time the finalists."""
        self.progress("cost of a step")
        typical = sorted(self.prompts, key=len)[len(self.prompts) // 2]
        costs = measure_costs(self.make_path, self.greedy, typical, self.stopwatch, self.max_top_k)
        self.progress("acceptance of a wide search")
        widest = DecodeSettings(tree_nodes=2, depth=MAX_DEPTH, top_k=max(costs.draft))
        path = self.make_path(widest)
        texts = [record_positions(path, prompt, self.num_tokens) for prompt in self.prompts]
        predictions = predict(costs, Acceptance(texts))
        self.progress("run-off of the best trees")
        measured = self._run_off(finalists(predictions))
        return Chosen(measured[0][0].settings, tuple(predictions), tuple(measured), costs)

    def _run_off(self, entrants: Sequence[Prediction]) -> list[tuple[Prediction, float]]:
        named = {shape_name(one.settings): one for one in entrants}
        decoders = {name: self.decoder(one.settings) for name, one in named.items()}
        return [(named[name], seconds) for name, seconds in run_off(decoders, self.prompts, self.num_tokens)]


def shape_name(settings: DecodeSettings) -> str:
    """Return a tree as `NODES/DEPTH/TOP_K`, with its bound where its search may end early."""
    bound = f"/{settings.stop_below:g}" if settings.stop_below else ""
    return f"{settings.tree_nodes}/{settings.depth}/{settings.top_k}{bound}"


def candidates(widths: Sequence[int]) -> Iterator[DecodeSettings]:
    """Yield every tree that is considered: all chains, and each number of nodes with each depth and width.

    Each comes with and without a bound that ends its search early.
    """
    for depth, stop_below in product(range(MAX_DEPTH + 1), STOPS):
        if not depth and stop_below:
            continue
        yield DecodeSettings(tree_nodes=depth + 2, depth=depth, top_k=1, stop_below=stop_below)
        for top_k in (width for width in widths if width > 1):
            most = 1 + top_k + depth * top_k * top_k
            for nodes in TREE_NODES:
                if depth + 2 <= nodes <= most:
                    yield DecodeSettings(tree_nodes=nodes, depth=depth, top_k=top_k, stop_below=stop_below)


def predict(costs: StepCosts, acceptance: Acceptance) -> list[Prediction]:
    """Return all trees, the fastest first."""
    predictions = []
    for settings in candidates(sorted(costs.draft)):
        accepted, expansions = acceptance.steps(settings)
        seconds = costs.step(settings, expansions=expansions)
        predictions.append(Prediction(settings, accepted, seconds, costs.speedup(accepted, seconds)))
    return sorted(predictions, key=lambda one: -one.speedup)


def finalists(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return the best trees of different width, the next of other sizes, of no bound, and chains.

    The optimum is flat: what is predicted within a few hundredths of each other is left to the run-off.
    """
    best: dict[int, Prediction] = {}
    for one in predictions:
        best.setdefault(one.settings.top_k, one)
    chosen = list(best.values())[:NUM_FINALISTS]
    chains = [one for one in predictions if one.settings.top_k == 1]
    chain = chains[0].settings
    around = [one for one in chains if one.settings.stop_below == chain.stop_below]
    apart = [one for one in around if abs(one.settings.depth - chain.depth) == APART]
    unbounded = [one for one in predictions if not one.settings.stop_below]
    sizes: dict[tuple[int, int], Prediction] = {}
    for one in predictions:
        if one.settings.top_k > 1 and one not in chosen:
            sizes.setdefault((one.settings.tree_nodes, one.settings.top_k), one)
    sized = list(sizes.values())[:NUM_SIZES]
    return list(dict.fromkeys([*chosen, *chains[:1], *apart, *sized, *unbounded[:1]]))
