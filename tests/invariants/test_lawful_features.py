"""Features in which a node's context leaves no trace are lawful where the model says so, and only there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from invariants.examples import CONTEXT, Before, Tree, legal_step
from invariants.outcome import NotChecked, Violated
from invariants.run import check_step
from tests.pairs import tiny_pair
from tracing.models import MedusaConfig
from tracing.run_facts import ModelFacts

ROW = legal_step(Tree([0, 0, 1], [7, 5, 7], [61, 61, 61]), Before())
EQUAL = {**ROW, "feature_row_digests": ROW["feature_row_digests"][[0, 1, 0]]}


def outcome(facts: ModelFacts | None) -> object:
    context = replace(CONTEXT, model_facts=facts)
    [found] = [each for each in check_step(EQUAL, context=context) if each.rule == "FEAT001"]
    return found


@pytest.mark.parametrize("facts", [None, ModelFacts()])
def test_equal_features_are_found_where_nothing_is_known_of_them(facts: ModelFacts | None) -> None:
    assert isinstance(outcome(facts), Violated)


def test_equal_features_of_equal_tokens_are_lawful_where_the_embedding_is_tapped_alone() -> None:
    assert isinstance(outcome(ModelFacts(features_by_token=True)), NotChecked)


@pytest.mark.parametrize(
    ("taps", "window", "by_token"),
    [((0, 0, 0), None, True), ((0, 0, 1), None, False), ((0, 1, 2), 1, True), ((0, 1, 2), 2, False)],
)
def test_the_fact_follows_from_taps_and_windows(
    taps: tuple[int, int, int], window: int | None, by_token: bool
) -> None:
    pair = tiny_pair(1, layers=2, aux_layers=taps, sliding_window=window)
    assert ModelFacts.of_model(pair).features_by_token is by_token


def test_heads_over_the_final_hidden_state_see_the_context() -> None:
    pair = replace(tiny_pair(1), drafter=MedusaConfig(32, 1, 1, 64))
    assert not ModelFacts.of_model(pair).features_by_token
    assert not ModelFacts.of_model(replace(pair, drafter=None)).features_by_token
