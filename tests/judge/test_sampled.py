"""Acceptance by draws: the reference's answer over the same logits and draws is the law."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.judge.support import judged, sound_step
from tracing.stages import Accepted
from workbench.judge.draw_ties import DrawTie
from workbench.judge.evidence import AcceptEvidence, StepEvidence
from workbench.judge.step import judge_step


def sampled(step: StepEvidence) -> AcceptEvidence:
    """The step's acceptance as if draws had ended it at the root, with a token that is not the choice."""
    assert step.accept is not None
    other = (int(step.accept.target_token_ids[0]) + 1) % 40
    accepted = Accepted(
        accepted_nodes=np.zeros(0, np.int64),
        final_token_id=other,
        emitted_token_ids=np.array([other]),
        path_indices=np.array([step.accept.committed_len]),
    )
    return replace(step.accept, is_greedy=False, fused=accepted, reference=accepted, remaining=9)


def test_a_token_that_is_not_the_choice_is_right_if_the_draws_say_so() -> None:
    step = sound_step()
    evidence = sampled(step)
    assert not judged(evidence).findings
    greedy = judged(replace(evidence, is_greedy=True))
    assert "JUDGE-ACCEPT-FINAL" in {finding.rule for finding in greedy.findings}


@pytest.mark.parametrize("rule", ["JUDGE-ACCEPT-NODES", "JUDGE-ACCEPT-FINAL"])
def test_another_answer_over_the_same_draws_is_a_finding(rule: str) -> None:
    step = sound_step()
    evidence = sampled(step)
    assert evidence.reference is not None
    changed = {
        "JUDGE-ACCEPT-NODES": {"accepted_nodes": np.array([1])},
        "JUDGE-ACCEPT-FINAL": {"final_token_id": (evidence.reference.final_token_id + 1) % 40},
    }[rule]
    wrong = replace(evidence, reference=replace(evidence.reference, **changed))
    assert rule in {finding.rule for finding in judged(wrong).findings}


def test_without_the_reference_nothing_is_checked() -> None:
    step = sound_step()
    judgement = judged(replace(sampled(step), reference=None))
    assert not judgement.checked
    assert judgement.not_checked[0].quantity == "*"


PROBS = np.array([1.0, 0.25, 1e-3, *[0.5] * 7, 0.0, 0.0], dtype=np.float32)
REPORTED = {
    "row_temperature": 0.7,
    "row_top_k": 20,
    "row_top_p": 0.9,
    "target_probs": PROBS,
    "recovered_token_id": 7,
}


def reporting(**ours: Any) -> AcceptEvidence:
    """A sampler that reports what it was given and what it made of it; the reference reports the same."""
    evidence = sampled(sound_step())
    assert evidence.reference is not None
    assert evidence.fused is not None
    theirs = replace(evidence.reference, **REPORTED)
    return replace(evidence, reference=theirs, fused=replace(evidence.fused, **(REPORTED | ours)))


@pytest.mark.parametrize(
    ("rule", "ours"),
    [
        ("JUDGE-ACCEPT-SAMPLER", {"row_temperature": 1.0}),
        ("JUDGE-ACCEPT-SAMPLER", {"row_top_k": 0}),
        ("JUDGE-ACCEPT-SAMPLER", {"row_top_p": 1.0}),
        ("JUDGE-ACCEPT-PROBS", {"target_probs": PROBS * np.float32(1 + 2**-9)}),
        ("JUDGE-ACCEPT-PROBS", {"target_probs": np.roll(PROBS, 1)}),
        ("JUDGE-ACCEPT-RECOVERED", {"recovered_token_id": 8}),
    ],
)
def test_what_a_sampler_reports_is_judged(rule: str, ours: dict[str, Any]) -> None:
    assert {finding.rule for finding in judged(reporting(**ours)).findings} == {rule}


def test_rounding_and_what_is_not_reported_are_no_findings() -> None:
    rounded = PROBS * np.float32(1 + 2**-18)
    rounded[10:] = 9.0  # pads
    for ours in ({}, {"target_probs": rounded}, dict.fromkeys(REPORTED)):
        assert not judged(reporting(**ours)).findings


def test_a_tie_of_draws_is_counted_and_was_emitted() -> None:
    ties = (DrawTie(0, 5, 6, 1e-9, 1e-7, is_token=True), DrawTie(2, 0, 1, 1e-9, 1e-7, is_token=False))
    evidence = replace(sampled(sound_step()), draw_ties=ties)
    judgement = judge_step(replace(sound_step(), accept=evidence, commit=None))
    assert [(tie.kind, tie.emitted) for tie in judgement.near_ties] == [("draw", True), ("acceptance", True)]
