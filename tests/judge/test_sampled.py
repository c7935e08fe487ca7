"""Acceptance by draws: the reference's answer over the same logits and draws is the law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.judge.support import judged, sound_step
from tracing.stages import Accepted
from workbench.judge.evidence import AcceptEvidence, StepEvidence


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
