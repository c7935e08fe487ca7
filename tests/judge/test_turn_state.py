"""The state of a turn advances the same way whether the turn runs or was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.judge.support import sound_step
from tracing.reader import open_run
from workbench.judge.turn_state import TurnState, recorded_turns

TRACES = Path(__file__).parents[2] / "traces"


def entered(max_new_tokens: int = 8) -> TurnState:
    state = TurnState(0, 0, max_new_tokens)
    state.enter([1, 2, 3], [1, 2, 3, 4])
    return state


def row(step: int, prompt_id: int = 0, **columns: Any) -> dict[str, Any]:
    return {"prompt_id": prompt_id, "turn": 0, "step": step, "token_ids": [0], **columns}


def test_the_root_of_a_turn_is_its_first_emitted_token() -> None:
    state = entered()
    assert (state.prompt, state.committed, state.root) == ([1, 2, 3], [1, 2, 3], 4)
    assert (state.emitted, state.remaining, state.ended) == ([4], 7, False)


def test_a_resync_replaces_a_wrong_emitted_root() -> None:
    state = entered()
    state.enter([1, 2, 3, 4], [1, 2, 3, 4, 9])
    assert (state.emitted, state.root) == ([9], 9)
    assert state.prompt == [1, 2, 3], "the turn began where it began"


@pytest.mark.parametrize(
    ("eos", "limit", "reason"), [(4, 8, "eos"), (4, 1, "eos"), (7, 1, "length"), (7, 2, None)]
)
def test_a_turn_may_end_at_its_root(eos: int, limit: int, reason: str | None) -> None:
    state = entered(limit)
    state.stop_at_root(frozenset({eos}))
    assert state.stop_reason == reason
    assert state.ended == (reason is not None)


def test_a_turn_ends_at_its_limit_though_no_stage_stops_it() -> None:
    """An accept that forgets the limit must not keep a run going."""
    state = entered(3)
    state.take_row(row(0, emitted_token_ids=[5]))
    assert (state.remaining, state.ended) == (1, False)
    state.take_row(row(1, emitted_token_ids=[6]))
    assert (state.remaining, state.stop_reason, state.ended) == (0, None, True)


def test_a_step_and_its_row_advance_a_turn_alike() -> None:
    step = sound_step()
    assert step.tensorize is not None
    assert step.accept is not None
    tensorized, accepted = step.tensorize.fused, step.accept.fused
    assert tensorized is not None
    assert accepted is not None
    live, recorded = entered(), entered()
    live.root = recorded.root = int(tensorized.token_ids[0])
    live.take_step(tensorized, accepted)
    recorded.take_row(row(0, emitted_token_ids=accepted.emitted_token_ids, stop_reason=accepted.stop_reason))
    assert live == recorded
    assert live.num_accepted == [len(accepted.accepted_nodes)]
    assert (live.step, live.context) == (1, None)


def test_a_cut_step_does_not_count_among_the_accepted() -> None:
    state = entered()
    state.take_row(row(0, emitted_token_ids=[5, 6], stop_reason="eos"))
    assert (state.num_accepted, state.ended) == ([], True)


@pytest.mark.parametrize("name", ["clean", "truncated"])
def test_a_recorded_turn_has_the_length_that_each_of_its_steps_records(name: str) -> None:
    path = open_run(TRACES / name).path("fused")
    seen = [state.has_length(row["committed_len"]) for row, state in recorded_turns(path, None)]
    assert seen
    assert all(seen)


def test_tokens_that_are_not_recorded_leave_the_turn_unknown_until_a_context() -> None:
    rows = [
        row(0, emitted_token_ids=[5]),
        row(1, context_token_ids=np.array([1, 2, 3]), emitted_token_ids=[4]),
        row(2),
        row(3, emitted_token_ids=[6]),
        row(4, context_token_ids=np.array([1, 2, 3, 4]), emitted_token_ids=[6]),
    ]
    known = [(state.is_known, state.is_bounded) for _, state in recorded_turns(rows, 9)]
    assert known == [(False, False), (True, True), (True, True), (False, False), (True, True)]
    assert not any(state.is_bounded for _, state in recorded_turns(rows, None))


def test_a_row_without_a_tree_takes_nothing_away() -> None:
    """A turn that ended at its root, say: no step ran."""
    rows = [
        {**row(0, context_token_ids=np.array([1, 2])), "token_ids": None},
        row(1, emitted_token_ids=[3]),
    ]
    assert [state.is_known for _, state in recorded_turns(rows, 9)] == [True, True]


def test_turns_that_alternate_keep_their_states() -> None:
    rows = [
        row(0, 0, context_token_ids=np.array([1, 2]), emitted_token_ids=[3]),
        row(0, 1, context_token_ids=np.array([7, 8]), emitted_token_ids=[9]),
        row(1, 0, emitted_token_ids=[4, 5]),
    ]
    states = {state.prompt_id: state for _, state in recorded_turns(rows, 9)}
    assert (states[0].emitted, states[0].committed, states[0].root) == ([2, 3, 4, 5], [1, 2, 3, 4], 5)
    assert states[1].emitted == [8, 9]
