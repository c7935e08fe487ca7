"""Draws: the same uniforms in the same order, and never more than were recorded."""

from __future__ import annotations

import copy

import pytest

from tracing.draws import DrawTape
from tracing.errors import UsageError


def test_a_recording_gives_what_the_live_tape_gave_and_then_ends() -> None:
    live = DrawTape.seeded(7)
    given = [live.take() for _ in range(5)]
    assert all(0 <= draw < 1 for draw in given)
    assert len(set(given)) == 5
    assert live.used_since(2).tolist() == given[2:]
    replayed = DrawTape.recorded(live.used_since(0).tolist())
    assert [replayed.take() for _ in range(5)] == given
    with pytest.raises(UsageError, match="draw 5 was asked for, only 5 are recorded"):
        replayed.take()


def test_a_seed_says_everything_and_another_seed_something_else() -> None:
    one, same, other = (DrawTape.seeded(seed) for seed in (3, 3, 4))
    assert one.take() == same.take() != other.take()


def test_a_recording_with_a_seed_continues_with_fresh_draws() -> None:
    tape = DrawTape.recorded([0.25], seed=0)
    assert tape.take() == 0.25
    assert tape.take() == DrawTape.seeded(0).take()


def test_a_copied_tape_takes_the_same_draws_and_leaves_the_original_alone() -> None:
    """A stage that is repeated on a copy of the state sees the chances of the first time."""
    tape = DrawTape.seeded(1)
    tape.take()
    copied = copy.deepcopy(tape)
    ahead = [copied.take() for _ in range(3)]
    assert tape.num_used == 1
    assert [tape.take() for _ in range(3)] == ahead
