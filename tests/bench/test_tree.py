"""`--tree auto`: what the replayed search accepts is what a real decode accepts, and costs decide rightly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.pairs import tiny_pair
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import NullWatch
from workbench.bench.choices import with_tree
from workbench.bench.chosen import tree_study
from workbench.cli.bench_words import parse_tree
from workbench.fused.path import make_engine, make_path, path_over
from workbench.lockstep.choice.acceptance import Acceptance, record_positions, replayed
from workbench.lockstep.choice.costs import StepCosts
from workbench.lockstep.choice.decoders import Decoded, Decoder, Stopwatch, greedy_decoder
from workbench.lockstep.choice.tree import TreeChooser, candidates, finalists, predict, shape_name
from workbench.lockstep.engine.step import run_prefill, run_step
from workbench.lockstep.engine.under_test import PathUnderTest

EAGER = frozenset({"attention", "norm", "rotary", "swiglu"})
PROMPTS = ([5, 9, 11, 3, 20, 41, 2], [1, 2, 3, 30, 31])
NUM_TOKENS = 40
WIDE = DecodeSettings(tree_nodes=2, depth=4, top_k=6, max_new_tokens=NUM_TOKENS)
SHAPES = [(2, 0, 1), (4, 2, 1), (6, 4, 1), (5, 2, 2), (9, 3, 3), (16, 4, 4), (25, 3, 6), (31, 4, 6)]
BOUND = 0.3


@pytest.fixture(scope="module")
def pair() -> ModelPair:
    return tiny_pair(11, noise=0.25)


@pytest.fixture(scope="module")
def acceptance(pair: ModelPair) -> Acceptance:
    path = make_path(pair, WIDE, eager=EAGER)
    return Acceptance([record_positions(path, prompt, NUM_TOKENS) for prompt in PROMPTS])


def really_stepped(pair: ModelPair, settings: DecodeSettings) -> list[tuple[int, int]]:
    """Accepted tokens and expansions of each step that begins with its whole future inside the text."""
    counted = []
    for prompt in PROMPTS:
        path = PathUnderTest.begin(make_path(pair, settings, eager=EAGER), NullWatch())
        run_prefill(path, prompt)
        place = 0
        while place + settings.depth < NUM_TOKENS:
            step = run_step(path, 1 << 20)
            assert step.drafted.levels is not None
            counted.append((len(step.accepted.accepted_nodes), len(step.drafted.levels) - 1))
            place += counted[-1][0] + 1
    return counted


@pytest.mark.parametrize(("nodes", "depth", "top_k"), SHAPES)
def test_a_smaller_search_replayed_accepts_what_it_really_accepts(
    pair: ModelPair, acceptance: Acceptance, nodes: int, depth: int, top_k: int
) -> None:
    """Catches a rank off by one, a beam of the wrong path, a text shifted against its drafts."""
    settings = DecodeSettings(tree_nodes=nodes, depth=depth, top_k=top_k)
    real = really_stepped(pair, settings)
    assert acceptance.steps(settings)[0] == pytest.approx(np.mean([each for each, _ in real]), abs=0.08)
    assert max(real)[0] > 0


def test_the_widest_search_is_replayed_exactly(pair: ModelPair, acceptance: Acceptance) -> None:
    settings = replace(WIDE, tree_nodes=31)
    real = really_stepped(pair, settings)
    assert acceptance.steps(settings) == pytest.approx(np.mean(real, axis=0))


@pytest.mark.parametrize("top_k", [1, WIDE.top_k])
def test_a_search_that_ends_early_is_replayed_exactly(
    pair: ModelPair, acceptance: Acceptance, top_k: int
) -> None:
    settings = replace(WIDE, tree_nodes=31, top_k=top_k, stop_below=BOUND)
    real = really_stepped(pair, settings)
    assert acceptance.steps(settings) == pytest.approx(np.mean(real, axis=0))
    assert len({expansions for _, expansions in real}) > 1


def test_more_of_anything_never_accepts_less_at_one_place(pair: ModelPair) -> None:
    path = make_path(pair, WIDE, eager=EAGER)
    for position in record_positions(path, PROMPTS[0], 12):
        for ranks in replayed(position, 4).ranks:
            assert all(np.diff(ranks) > 0)  # a node never comes before its parent


class Given:
    """Acceptance that grows with nodes, as told."""

    def steps(self, settings: DecodeSettings) -> tuple[float, float]:
        return min(settings.depth + 1, 0.5 * settings.tree_nodes**0.7), settings.depth


def costs(per_node: float, per_level: float = 0.01) -> StepCosts:
    verify = {nodes: 1.0 + per_node * nodes for nodes in (2, 4, 8, 16, 32, 64)}
    return StepCosts(1.0, verify, dict.fromkeys((1, 2, 4, 10), (0.1, per_level)))


def best(given: StepCosts) -> DecodeSettings:
    return predict(given, Given())[0].settings


def test_free_nodes_make_the_tree_big_and_dear_ones_make_it_small() -> None:
    assert best(costs(0.0)).tree_nodes == 64
    assert best(costs(0.2)).tree_nodes < 10
    assert best(costs(5.0)).tree_nodes == 2


def test_dear_levels_make_it_flat() -> None:
    assert best(costs(0.0, per_level=0.001)).depth > best(costs(0.0, per_level=2.0)).depth


def test_every_chain_is_a_candidate_and_a_finalist() -> None:
    chains = [one for one in candidates((1, 2, 4)) if one.top_k == 1 and not one.stop_below]
    assert [(one.tree_nodes, one.depth) for one in chains] == [(depth + 2, depth) for depth in range(10)]
    assert any(one.settings.top_k == 1 for one in finalists(predict(costs(0.0), Given())))


def test_a_tree_is_read_as_it_is_named() -> None:
    for one in candidates((1, 2, 4)):
        assert parse_tree(shape_name(one)) == one


def test_no_candidate_wants_more_nodes_than_its_search_scores() -> None:
    for one in candidates((1, 2, 4, 10)):
        assert one.depth + 2 <= one.tree_nodes <= 1 + one.top_k + one.depth * one.top_k**2


class Ticking:
    """A clock that moves by one at each look."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return float(self.looks)


def test_the_run_off_overrules_the_prediction(pair: ModelPair) -> None:
    """Only wide trees decode fast here, whatever was predicted."""
    engine = make_engine(pair, WIDE, eager=EAGER)

    def decoder(settings: DecodeSettings) -> Decoder:
        def decode(prompt: Sequence[int], max_new_tokens: int) -> Decoded:
            seconds = 1.0 if settings.top_k == 10 else 2.0
            return Decoded(token_ids=(1,) * max_new_tokens, seconds=seconds, first_token_seconds=0.0)

        return decode

    chosen = TreeChooser(
        make_path=lambda settings: path_over(with_tree(engine, settings)),
        decoder=decoder,
        greedy=greedy_decoder(engine, Stopwatch(now=Ticking())),
        stopwatch=Stopwatch(now=Ticking()),
        prompts=PROMPTS[:1],
        max_top_k=len(pair.target_from_draft),
        max_new_tokens=16,
    ).choose()
    assert chosen.settings.top_k == 10
    assert chosen.costs.verify.keys() >= {2, 64}
    study = tree_study(chosen, "tree")
    assert f"Chosen: {chosen.settings.tree_nodes}/{chosen.settings.depth}/10" in study.text[0]
