"""Honest drivers pass, a faulty one is told what it does; the documentation follows the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pages.trace_columns import trace_page, unlock_table
from tracing.columns import COLUMNS
from tracing.conformance import KnownStep, check_recorder
from tracing.recorder import Recorder


def record(trace: Recorder, known: KnownStep, columns: dict[str, Any]) -> None:
    with trace.step(prompt_id=known.prompt_id, turn=known.turn, step=known.step) as step:
        step.record(**columns)


def honest(trace: Recorder, known: KnownStep) -> None:
    record(trace, known, dict(known.columns))


def minimal(trace: Recorder, known: KnownStep) -> None:
    """An engine that knows only tokens and parents, in lists, and records more than was asked about."""
    named = {name: np.asarray(known.columns[name]).tolist() for name in ("token_ids", "parents")}
    record(trace, known, {**named, "proposer": "lookup"})


def test_honest_drivers_conform_and_learn_what_stays_locked() -> None:
    rules = {"TREE001": ("parents", "token_ids"), "MASK001": ("parents", "visible", "step")}
    whole = check_recorder(honest, rules)
    assert whole.conforms, str(whole)
    assert (whole.missing, whole.locked) == (frozenset(), {})
    assert str(whole) == "conforms"
    some = check_recorder(minimal, rules)
    assert some.conforms, str(some)
    assert some.locked == {"MASK001": ("visible",)}
    assert "visible" in some.missing
    assert "MASK001 cannot run without visible" in str(some)


def changed(name: str, change: Any) -> Any:
    def drive(trace: Recorder, known: KnownStep) -> None:
        record(trace, known, {**known.columns, name: change(known.columns[name])})

    return drive


def bends(trace: Recorder, known: KnownStep) -> None:
    """Cuts every array to the shortest, which hides an engine's wrong lengths."""
    num_nodes = min(len(known.columns[name]) for name in ("token_ids", "depths", "parents"))
    record(
        trace, known, {name: known.columns[name][:num_nodes] for name in ("token_ids", "depths", "parents")}
    )


def forgets_a_step(trace: Recorder, known: KnownStep) -> None:
    if known.step != 1:
        honest(trace, known)


def drops_padding(trace: Recorder, known: KnownStep) -> None:
    kept = np.flatnonzero(known.columns["valid"])
    record(trace, known, {name: known.columns[name][kept] for name in ("token_ids", "parents", "valid")})


def misnames(trace: Recorder, known: KnownStep) -> None:
    record(trace, known, {"parent_ids": known.columns["parents"]})


@pytest.mark.parametrize(
    ("drive", "sentence"),
    [
        (changed("parents", lambda parents: parents - 1), "parents of step 0 came back different"),
        (changed("visible", np.transpose), "visible of step 0 came back different"),
        (changed("visible", np.logical_not), "visible of step 2 came back different"),
        (changed("position_ids", np.sort), "position_ids of step 0 came back different"),
        (changed("accepted_nodes", lambda nodes: nodes + 1), "accepted_nodes of step 1 came back different"),
        (changed("token_ids", lambda ids: ids.astype(float)), "token_ids should have an integer dtype"),
        (bends, "depths with one element too many was recorded without an error"),
        (forgets_a_step, "step 1 was not recorded"),
        (drops_padding, "token_ids of step 0 came back different"),
        (misnames, "no column 'parent_ids'"),
    ],
)
def test_a_faulty_driver_is_told_what_it_does(drive: Any, sentence: str) -> None:
    result = check_recorder(drive)
    assert not result.conforms
    assert sentence in str(result)


def test_a_recorder_without_a_tree_does_not_conform() -> None:
    def lengths_only(trace: Recorder, known: KnownStep) -> None:
        record(trace, known, {"committed_len": known.columns["committed_len"]})

    assert not check_recorder(lengths_only).conforms


def test_the_page_names_every_column_once_and_the_table_only_those_needed() -> None:
    page = trace_page()
    for column in COLUMNS:
        assert page.count(f"| `{column.name}` |") == 1
        assert column.meaning in page
    table = unlock_table({"B": ["parents"], "A": ["parents", "valid"]})
    assert "| `parents` | tensorize | A, B |" in table
    assert "token_ids" not in table
