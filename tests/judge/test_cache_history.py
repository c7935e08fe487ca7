"""Which committed row changed, when, and whose row is there now: from digests alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tracing.digest import chain
from workbench.judge.cache_history import CacheHistory, cache_history

PREFIX, NODES = 5, 6
PATHS = ([0, 2, 5], [0], [0, 1, 3, 4], [0, 3])
"""Nodes committed in each step."""
Spoil = Callable[[int, list[int], list[list[int]]], None]
"""`(step, cache, trees)`; changes the cache in place, before verify of the step."""


def turn_rows(
    spoil: Spoil = lambda *_: None, commit: Callable[[int, list[int]], list[int]] = lambda _, path: path
) -> list[dict[str, Any]]:
    """Return the rows of a turn whose cache is a list of digests."""
    chance = np.random.default_rng(7)
    cache = chance.integers(0, 1 << 63, PREFIX).tolist()
    trees = [chance.integers(0, 1 << 63, NODES).tolist() for _ in PATHS]
    rows = []
    for step, path in enumerate(PATHS):
        length = len(cache)
        spoil(step, cache, trees)
        before = chain(0, cache)
        cache += [trees[step][node] for node in commit(step, path)]
        rows.append(
            {
                "prompt_id": 0,
                "turn": 0,
                "step": step,
                "committed_len": length,
                "context_token_ids": np.arange(PREFIX + 1) if step == 0 else None,
                "accepted_nodes": np.array(path[1:]),
                "kv_digest_before": before,
                "kv_row_digests": np.array(trees[step], np.uint64),
                "kv_digest_after": chain(0, cache),
            }
        )
    return rows


def _only_change(history: CacheHistory) -> tuple[str, str, int | None, str, str]:
    (change,) = history.changes
    return str(change.at), change.kind, change.position, str(change.belongs), str(change.holds)


def test_a_clean_turn_has_writers_and_no_changes() -> None:
    history = cache_history(turn_rows())
    assert history.changes == []
    assert not history.not_known
    assert str(history.writers[PREFIX - 1]) == "prefill"
    assert [str(each) for each in history.writers[PREFIX:]] == [
        f"node {node} of step {step}" for step, path in enumerate(PATHS) for node in path
    ]


def test_a_row_moved_from_another_node() -> None:
    history = cache_history(turn_rows(commit=lambda step, path: [0, 1, 2, 4] if step == 2 else path))
    assert _only_change(history) == (
        "0:0:2:commit",
        "moved",
        PREFIX + 6,
        "node 3 of step 2",
        "node 2 of step 2",
    )
    moment = history.changes[0].at
    assert history.changes_before(moment) == history.changes
    assert history.changes_before(moment.at("verify")) == history.changes_before(moment.at("")) == []


def test_a_row_left_from_an_earlier_step() -> None:
    def stale(step: int, cache: list[int], trees: list[list[int]]) -> None:
        if step == 3:
            cache[PREFIX + 4] = trees[0][1]

    history = cache_history(turn_rows(stale))
    expected = ("0:0:3:verify", "overwritten", PREFIX + 4, "node 0 of step 2", "node 1 of step 0")
    assert _only_change(history) == expected
    assert history.changes_before(history.changes[0].at) == history.changes


def test_several_rows_of_one_commit() -> None:
    history = cache_history(
        turn_rows(commit=lambda step, path: list(range(len(path))) if step == 0 else path)
    )
    assert [(each.position, each.kind, each.holds and each.holds.node) for each in history.changes] == [
        (PREFIX + 1, "moved", 1),
        (PREFIX + 2, "moved", 2),
    ]


@pytest.mark.parametrize("position", [1, PREFIX + 1])
def test_bytes_of_no_row_are_seen_and_not_guessed(position: int) -> None:
    def scribble(step: int, cache: list[int], _: list[list[int]]) -> None:
        if step == 2:
            cache[position] ^= 12345

    (change,) = cache_history(turn_rows(scribble)).changes
    assert change.position is None
    assert "do not tell which" in change.sentence


def test_without_digests_nothing_is_said_to_be_right() -> None:
    rows = [
        row | dict.fromkeys(("kv_digest_before", "kv_row_digests", "kv_digest_after")) for row in turn_rows()
    ]
    history = cache_history(rows)
    assert "not seen" in history.not_known
    assert len(history.writers) == PREFIX + sum(map(len, PATHS))


def test_rows_without_a_length_and_of_impossible_ones_are_passed_over() -> None:
    rows = turn_rows()
    rows[1] = rows[1] | {"committed_len": None}
    rows[2] = rows[2] | {"committed_len": 1 << 40}
    assert cache_history(rows).changes == []
    rows = turn_rows()
    rows[1] = rows[1] | {"accepted_nodes": np.array([77, -3])}
    assert cache_history(rows[:2]).changes == []
