"""A clean step is repeated bit by bit; stale inputs are told from chance, wherever the buffer lies."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lockstep.runs import Outcome, Setup, run
from tracing.moment import STAGES
from tracing.stages import DecodePath, Drafted, Stages, Tensorized, Verified


def first_of(outcome: Outcome) -> tuple[str, str, str, str]:
    first = outcome.first
    assert first is not None
    return first.rule, first.verdict, first.guilty, first.moment.stage


def test_a_clean_run_is_repeated_and_silent(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run")
    assert outcome.first is None
    for quantity in (
        "prefill.logits",
        "prefill.kv",
        "draft.logprobs",
        "verify.logits",
        "accept.accepted_nodes",
    ):
        assert outcome.verdict.checked[f"{quantity} (repeat)"] == 1
    assert outcome.verdict.checked["commit.kv_digest_after (repeat)"] == 1


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", Setup(options={"repeat": False}))
    assert not [quantity for quantity in outcome.verdict.checked if "repeat" in quantity]


def test_a_turn_of_one_step_is_repeated_too(tmp_path: Path) -> None:
    setup = Setup()
    short = replace(setup.settings, max_new_tokens=2)
    outcome = run(tmp_path / "run", replace(setup, settings=short))
    assert outcome.verdict.checked["verify.logits (repeat)"] == 1


def test_what_cannot_be_copied_is_not_checked(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", path=lambda made: replace(made, snapshot=None))
    assert outcome.first is None
    reasons = {missing.reason for missing in outcome.verdict.not_checked if missing.quantity == "repeat"}
    assert reasons == {"the state of the path cannot be copied"}


@pytest.mark.parametrize("stage", ["prefill", "draft", "verify"])
def test_the_last_bit_of_a_clean_step_is_enough(tmp_path: Path, stage: str) -> None:
    """Catches a look for nondeterminism after a finding only: nothing else is wrong here."""
    calls = itertools.count()

    def faulty(stages: Stages) -> Stages:
        def noisy(*given: Any) -> Any:
            made = getattr(stages, stage)(*given)
            factor = np.float32(1 + 1.2e-7 * (next(calls) % 2))
            if stage != "draft":
                return replace(made, logits=made.logits * float(factor))
            levels = tuple(replace(each, scores=each.scores * factor) for each in made.levels)
            return replace(made, logprobs=made.logprobs * factor, levels=levels)

        return replace(stages, **{stage: noisy})

    outcome = run(tmp_path / "run", fused=faulty)
    assert first_of(outcome) == ("JUDGE-REPEAT", "nondeterministic", "fused", stage)


Buffers = dict[str, Any]


def late(made: DecodePath, stage: str, spoil: Callable[[Any, Any], Any], *, in_state: bool) -> DecodePath:
    """Give a stage what `spoil` makes of its arguments and those of the call before."""
    shared: Buffers = {}
    begin, copy, rows, lengths = made.begin, made.snapshot, made.kv_rows, made.kv_lengths
    assert copy is not None
    assert rows is not None
    assert lengths is not None

    def wrap(name: str) -> Callable[..., Any]:
        own = getattr(made.stages, name)

        def call(state: tuple[Any, Buffers], *given: Any) -> Any:
            inner, buffer = state
            if name != stage:
                return own(inner, *given)
            before = buffer.get("given", given)
            buffer["given"] = given
            return own(inner, *spoil(given, before))

        return call

    return replace(
        made,
        stages=Stages(**{name: wrap(name) for name in STAGES}),
        begin=lambda watch: (begin(watch), shared if not in_state else {}),
        snapshot=lambda state: (copy(state[0]), dict(state[1]) if in_state else shared),
        kv_rows=lambda state, cache, positions: rows(state[0], cache, positions),
        kv_lengths=lambda state, cache: lengths(state[0], cache),
    )


def old_tokens(given: Any, before: Any) -> Any:
    tree: Tensorized = given[0]
    return (replace(tree, token_ids=before[0].token_ids),)


@pytest.mark.parametrize("in_state", [True, False])
def test_stale_tokens_of_verify_have_a_name_of_their_own(tmp_path: Path, in_state: bool) -> None:
    setup = Setup(options={"on_violation": "launch"})
    outcome = run(
        tmp_path / "run", setup, path=partial(late, stage="verify", spoil=old_tokens, in_state=in_state)
    )
    found = {finding.rule: finding for finding in outcome.log.findings}
    assert "JUDGE-STALE" in found, found
    assert (found["JUDGE-STALE"].verdict, found["JUDGE-STALE"].moment.step) == ("structural", 1)
    assert "JUDGE-REPEAT" not in found


def test_a_wrong_stage_that_is_always_wrong_is_not_stale(tmp_path: Path) -> None:
    def faulty(stages: Stages) -> Stages:
        def verify(state: object, tree: Tensorized) -> Verified:
            made = stages.verify(state, tree)
            return replace(made, logits=made.logits * 1.01)

        return replace(stages, verify=verify)

    assert first_of(run(tmp_path / "run", fused=faulty))[1:] == ("numeric", "fused", "verify")


def test_chance_that_is_wrong_is_not_stale(tmp_path: Path) -> None:
    calls = itertools.count(1)

    def faulty(stages: Stages) -> Stages:
        def draft(state: object) -> Drafted:
            made = stages.draft(state)
            assert made.levels is not None
            shift = np.float32(0.01 * next(calls))
            levels = tuple(replace(each, scores=each.scores + shift) for each in made.levels)
            return replace(made, levels=levels)

        return replace(stages, draft=draft)

    assert first_of(run(tmp_path / "run", fused=faulty))[1:] == ("nondeterministic", "fused", "draft")
