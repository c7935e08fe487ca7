"""Verify functions over every source of chance: followed, opened or sampled, and judged alike."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from tests.lossless import verifiers
from tracing.errors import UsageError
from workbench.lossless.forks import NotRepeatableError
from workbench.lossless.judge import JudgeSettings, ProblemVerdict, judged
from workbench.lossless.problem import Drafts, Problem, problem_from
from workbench.lossless.standard import standard_problems
from workbench.lossless.verifier import as_verifier

QUICK = JudgeSettings(samples=600, runs=20_000)


def problem(name: str, drafts: Drafts = "sampled", *, chains: bool = True) -> Problem:
    return next(each for each in standard_problems(drafts, chains=chains) if each.name == name)


def verdict(function: str, on: Problem, *, is_batched: bool = False) -> ProblemVerdict:
    return judged(as_verifier(getattr(verifiers, function), function, is_batched=is_batched), on, QUICK)


@pytest.mark.parametrize("shape", ["star2_v4", "tree_2x1_v3"])
def test_a_tree_verifier_is_exactly_lossless(shape: str) -> None:
    found = verdict("eagle", problem(shape, "fixed", chains=False))
    assert (found.verdict, found.total_variation, found.error < 1e-12) == ("lossless", 0, True)


@pytest.mark.parametrize(
    ("function", "how"),
    [
        ("plain_random", "exact"),
        ("gumbel", "exact"),
        ("uniforms_as_arrays", "exact"),
        ("shared_race", "exact"),
        ("with_torch", "exact"),
        ("opaque", "opened"),
    ],
)
def test_right_verifiers_are_lossless_whatever_their_source(function: str, how: str) -> None:
    found = verdict(function, problem("chain2_v3" if function != "opaque" else "chain1_v3"))
    assert found.trial.how == how
    assert found.verdict in ("lossless", "lossless within E")
    assert found.error < (1e-7 if how == "opened" else 1e-12)


def test_what_cannot_be_opened_is_sampled_and_says_how_far() -> None:
    found = verdict("opaque_product", problem("chain2_v3", "top"))
    assert found.trial.how == "sampled"
    assert 0.01 < found.error < 0.2
    assert found.verdict == ("not lossless" if found.total_variation > found.error else "inconclusive")


def test_a_row_of_a_batch_may_not_share_its_coins() -> None:
    """Catches what no marginal law shows."""
    assert verdict("batch", problem("chain1_v3"), is_batched=True).verdict in (
        "lossless",
        "lossless within E",
    )
    shared = verdict("batch_with_one_coin", problem("chain1_v3"), is_batched=True)
    assert shared.verdict == "not lossless"
    assert shared.worst is None  # each row alone is right


def test_zero_mass_at_a_coin_of_zero_is_found_and_weighed() -> None:
    found = verdict("accepts_at_zero", problem("chain1_v3_zeros", "fixed"))
    assert found.verdict == "not lossless"
    assert found.zero_mass == pytest.approx(2**-24)
    assert found.same_as == ("zero-mass-at-coin-0",)
    assert verdict("accepts_at_zero", problem("chain1_v3", "fixed")).zero_mass == 0


def test_what_goes_wrong_is_said() -> None:
    found = verdict("raises_on_rejection", problem("chain1_v3"))
    assert found.verdict == "not lossless"
    ((what, probability),) = found.failures
    assert what == "raised ValueError: 0/0 in the residual"
    assert 0 < probability < 1
    with pytest.raises(NotRepeatableError, match="not repeatable"):
        verdict("not_repeatable", problem("chain1_v3", "fixed"))
    with pytest.raises(UsageError, match="token ids are 0 to 2"):
        verdict("out_of_vocabulary", problem("chain1_v3", "fixed"))
    with pytest.raises(UsageError, match="temperature, which nobody can fill"):
        as_verifier(verifiers.strange_parameter, "strange")


def test_no_source_of_chance_stays_patched() -> None:
    before = (random.random, np.random.rand, np.random.default_rng)
    verdict("plain_random", problem("chain1_v3"))
    verdict("with_torch", problem("chain1_v3"))
    assert before == (random.random, np.random.rand, np.random.default_rng)
    assert type(torch.rand(2)) is torch.Tensor
    assert 0 <= random.random() < 1


def test_the_block_rule_restated_is_named() -> None:
    """Catches products of draws that nobody integrates; its law is that of the known mistake."""
    from workbench.lossless.samplers.ascend import block_restated

    found = judged(as_verifier(block_restated, "block"), problem("chain2_v3"), QUICK)
    assert (found.verdict, found.trial.how) == ("not lossless", "integrated")
    assert found.same_as == ("block-by-products",)
    assert 0.2 < found.total_variation < 0.24


def test_an_opened_law_accuses_and_clears_rightly() -> None:
    """Catches places that only a few of the other draws show: they once made a right sampler look wrong."""
    wrong = verdict("opaque_and_wrong", problem("chain1_v3"))
    assert (wrong.verdict, wrong.trial.how) == ("not lossless", "opened")
    assert wrong.same_as == ("residual-full-target",)
    law = {"": ["1/64", "63/64"], "0": ["1/64", "63/64"], "1": ["63/64", "1/64"]}
    after = {path: ["1/2", "1/2"] for path in ("0,0", "0,1", "1,0", "1,1")}
    draft = {path: ["63/64", "1/64"] for path in ("", "0", "1")}
    narrow = problem_from({"depth": 2, "target": law | after, "draft": draft}, "sampled")
    found = judged(as_verifier(verifiers.rare_branch, "rare"), narrow, QUICK)
    assert (found.verdict, found.trial.how) == ("lossless within E", "opened")
