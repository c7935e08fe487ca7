"""A step cut at a stop token or a stop string of the request: where it ends is the engine's own word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.judge.support import accept, judged, tensorized
from tracing.settings import STOP_WORDS
from tracing.stages import Accepted, Drafted
from workbench.judge.evidence import AcceptEvidence

TREE = tensorized(
    Drafted(
        token_ids=np.array([7, 1, 2, 3]),
        parents=np.array([0, 0, 1, 2]),
        depths=np.array([0, 1, 2, 3]),
        logprobs=np.zeros(4, np.float32),
    )
)
CHOICES = np.array([1, 2, 3, 9, *[0] * (len(TREE.token_ids) - 4)])


def cut_at(num_emitted: int, stop_reason: str | None) -> AcceptEvidence:
    """The acceptance of a chain of three, cut after some tokens."""
    whole = accept(TREE, CHOICES)
    assert whole.fused is not None
    nodes = np.arange(1, num_emitted)
    cut = Accepted(
        accepted_nodes=nodes,
        final_token_id=int(CHOICES[num_emitted - 1]),
        emitted_token_ids=CHOICES[:num_emitted],
        path_indices=whole.committed_len + np.arange(num_emitted),
        stop_reason=stop_reason,
    )
    return replace(whole, fused=cut, reference=None)


def rules(evidence: AcceptEvidence) -> set[str]:
    return {finding.rule for finding in judged(evidence).findings}


@pytest.mark.parametrize("reason", STOP_WORDS)
@pytest.mark.parametrize("num_emitted", [1, 2, 3, 4])
def test_a_stop_word_may_cut_anywhere(reason: str, num_emitted: int) -> None:
    assert rules(cut_at(num_emitted, reason)) == set()


@pytest.mark.parametrize("reason", ["eos", "length", "stop"])
def test_no_other_reason_may(reason: str) -> None:
    assert rules(cut_at(2, reason)) == {"JUDGE-ACCEPT-NODES", "JUDGE-ACCEPT-STOP"}
    assert rules(cut_at(2, None)) == {"JUDGE-ACCEPT-NODES"}


@pytest.mark.parametrize("reason", STOP_WORDS)
def test_what_is_emitted_still_follows_the_tree(reason: str) -> None:
    evidence = cut_at(3, reason)
    assert evidence.fused is not None
    wrong = replace(evidence.fused, accepted_nodes=np.array([1, 3]))
    assert "JUDGE-ACCEPT-NODES" in rules(replace(evidence, fused=wrong))
    longer = replace(evidence.fused, accepted_nodes=np.array([1, 2, 3, 3]))
    assert "JUDGE-ACCEPT-NODES" in rules(replace(evidence, fused=longer))


def test_the_models_own_end_is_called_eos() -> None:
    evidence = replace(cut_at(4, "stop_token"), eos_token_ids=frozenset({9}))
    assert rules(evidence) == {"JUDGE-ACCEPT-STOP"}
