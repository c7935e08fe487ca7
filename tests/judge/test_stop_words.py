"""A step cut at a stop token or a stop string of the request: where it ends is the engine's own word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.judge.support import accept, judged, tensorized
from tracing.run_facts import RequestLimits
from tracing.settings import STOP_WORDS
from tracing.stages import Accepted, Drafted
from workbench.judge.evidence import AcceptEvidence
from workbench.judge.recorded.context import read_context
from workbench.judge.recorded.evidence import RecordedFacts, ends_of_row, recorded_evidence
from workbench.judge.turn_state import TurnState, recorded_turns

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


def tail_thrown_away(num_emitted: int, **row: object) -> AcceptEvidence:
    """The whole chain of three and its bonus token, of which the user got some tokens, as it is recorded."""
    recorded = {
        "prompt_id": 0,
        "turn": 0,
        "step": 3,
        "committed_len": 10,
        **{name: getattr(TREE, name) for name in ("token_ids", "parents", "depths", "valid")},
        **{name: getattr(TREE, name) for name in ("position_ids", "cache_positions")},
        "target_token_ids": CHOICES,
        "accepted_nodes": np.array([1, 2, 3]),
        "final_token_id": 9,
        "emitted_token_ids": np.array([1, 2, 3, 9])[:num_emitted],
        "discarded_token_ids": np.array([1, 2, 3, 9])[num_emitted:],
        "path_indices": 10 + np.arange(4),
        "committed_len_after": 14,
        "stop_reason": "stop_token",
        **row,
    }
    state = TurnState(0, 0, 100, emitted=[7] * 98)
    facts = RecordedFacts(eos_token_ids=frozenset({2}))
    part = recorded_evidence(recorded, None, state, facts).accept
    assert part is not None
    return part


def test_a_tail_that_was_thrown_away_was_committed_and_is_judged_as_if_nothing_had_been_cut() -> None:
    """The model's end inside it, and a limit that it passes, are no matter of acceptance then."""
    for num_emitted in (1, 2, 3):
        assert rules(tail_thrown_away(num_emitted)) == set()
    assert rules(tail_thrown_away(2, accepted_nodes=np.array([1, 2]))) >= {"JUDGE-ACCEPT-NODES"}
    assert rules(tail_thrown_away(2, discarded_token_ids=np.array([3]))) == {"JUDGE-ACCEPT-EMITTED"}


def test_tokens_after_a_step_are_those_that_it_committed() -> None:
    state = TurnState(0, 0, committed=[5, 6], root=7, emitted=[7])
    state.take_row({"emitted_token_ids": [1, 2], "discarded_token_ids": [3, 9], "stop_reason": "stop_token"})
    assert (state.committed, state.emitted, state.root) == ([5, 6, 7, 1, 2, 3], [7, 1, 2], 9)


def test_each_request_has_limits_of_its_own() -> None:
    limits = {"": RequestLimits(max_new_tokens=5), "b": RequestLimits(max_new_tokens=9, ignore_eos=True)}
    rows = [
        {"prompt_id": number, "turn": 0, "step": 0, "request_id": name, "context_token_ids": [1, 2]}
        for number, name in enumerate("ab")
    ]
    assert [state.max_new_tokens for _, state in recorded_turns(rows, 3, limits)] == [5, 9]
    assert [ends_of_row(row, frozenset({2}), limits) for row in rows] == [frozenset({2}), frozenset()]


def test_limits_of_requests_come_from_the_manifest() -> None:
    requests = {"a": {"limits": {"stop_token_ids": [7], "max_new_tokens": 40}}, "b": {"sampling": {}}}
    held = read_context({"requests": requests}).request_limits
    assert held == {"a": RequestLimits(stop_token_ids=(7,), max_new_tokens=40)}
