"""Batches compared as they are stored: alike means equal, and nothing that differs is ever alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from invariants.examples import Before, Tree, legal_step
from tracing import ipc_message
from tracing.columns import COLUMN_BY_NAME, COLUMNS
from tracing.reader import open_run
from tracing.recorder import open_trace
from tracing.schema import arrow_schema
from tracing.sealed import SealedBatch
from tracing.shares import shares_of
from tracing.stored_parts import Places, StoredParts, stored_parts

ROW = legal_step(Tree([0, 0, 1], [5, 6, 7], [6, 7, 8], 1), Before())
NAMES = [column.name for column in COLUMNS]
WORDS = {column.name for column in COLUMNS if column.kind == "dictionary"}


def recorded(folder: Path, rows: list[dict[str, Any]]) -> SealedBatch:
    with open_trace(folder, level="full") as trace:
        for number, row in enumerate(rows):
            with trace.step(step=number) as step:
                step.record(**{name: value for name, value in row.items() if name not in NAMES[:3]})
    (batch,) = open_run(folder).path("fused").sealed_batches(NAMES)
    assert isinstance(batch, SealedBatch)
    return batch


def other(value: Any) -> Any:
    """Return another value of the same form."""
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, (bool, np.bool_)):
        return not value
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, list):
        return [{**value[0], "max": value[0]["max"] ^ 1}]
    changed = value.copy()
    changed.flat[0] = ~changed.flat[0] if changed.dtype.kind == "b" else changed.flat[0] + 1
    return changed


@pytest.mark.parametrize("name", [name for name in NAMES[3:] if ROW.get(name) is not None])
def test_a_changed_column_is_stored_unlike_and_the_others_alike(name: str, tmp_path: Path) -> None:
    """Buffers of a neighbour taken for a column's own would hide a difference, or show one that is none."""
    honest = recorded(tmp_path / "honest", [ROW, ROW])
    changed = recorded(tmp_path / "changed", [ROW, {**ROW, name: other(ROW[name])}])
    unlike = {each for each in NAMES if honest.stored(each) != changed.stored(each)}
    assert unlike == (WORDS if name in WORDS else {name})  # a batch has its words in one place
    assert honest.stored_together(NAMES) != changed.stored_together(NAMES)
    others = [each for each in reversed(NAMES) if each not in unlike]
    assert honest.stored_together(others) == changed.stored_together(others) is not None
    assert not honest[name].equals(changed[name])


@pytest.mark.parametrize("name", ["proposer", "final_token_id", "parents", "index_sites"])
def test_a_null_is_stored_unlike_a_value(name: str, tmp_path: Path) -> None:
    batches = [recorded(tmp_path / str(each), [ROW, {**ROW, name: each}]) for each in (None, ROW[name])]
    assert batches[0].stored(name) != batches[1].stored(name)
    assert batches[0].stored_together(NAMES) != batches[1].stored_together(NAMES)


def test_what_is_unpacked_is_what_was_recorded(tmp_path: Path) -> None:
    batch = recorded(tmp_path / "run", [ROW])
    for name in NAMES[3:]:
        cell = batch[name][0].as_py()
        assert (cell is None) == (ROW.get(name) is None), name
    assert batch["parents"][0].as_py() == ROW["parents"].tolist()


def moved(batch: SealedBatch, change: Callable[[Any], None]) -> StoredParts | None:
    """Return a batch's parts, read after a change to the offsets and lengths of its buffers, `[B, 2]`."""
    data = bytearray(batch._data)
    message = batch._message
    head = memoryview(data)[message.head_at : message.body_at]
    pairs = np.frombuffer(ipc_message.vector_of(head, message.header, ipc_message.BUFFERS), "<i8")
    change(pairs.reshape(-1, 2))
    return stored_parts(bytes(data), message)


def test_the_same_bytes_divided_otherwise_are_stored_unlike(tmp_path: Path) -> None:
    batch = recorded(tmp_path / "run", [ROW])
    column = batch._shares["token_ids"]  # its own validity, offsets, and those of its numbers

    def shift(pairs: Any) -> None:
        pairs[column[1].start + 1, 0] += 1  # into the gap, which pads the offsets to whole words

    honest, shifted = moved(batch, lambda pairs: None), moved(batch, shift)
    assert honest is not None
    assert shifted is not None
    places = Places.of([column])
    assert honest.of(places)[2:] == shifted.of(places)[2:]
    assert honest.of(places) != shifted.of(places)


def test_buffers_in_another_order_are_unpacked_and_one_outside_is_refused(tmp_path: Path) -> None:
    batch = recorded(tmp_path / "run", [ROW])

    def swap(pairs: Any) -> None:
        filled = np.flatnonzero(pairs[:, 1])[:2]
        pairs[filled] = pairs[filled[::-1]].copy()

    def outside(pairs: Any) -> None:
        pairs[-1] = (1 << 62, 1 << 62)

    assert moved(batch, swap) is None
    with pytest.raises(ipc_message.CorruptFrameError, match="outside"):
        moved(batch, outside)


def test_a_column_behind_an_unknown_type_is_left_out_not_guessed() -> None:
    """A newer version may add types; their number of buffers is not known here."""
    newer = pa.schema(
        [
            *arrow_schema(["step", "parents"]),
            pa.field("new", pa.list_view(pa.int8())),
            arrow_schema(["turn"]).field(0),
        ]
    )
    assert list(shares_of(newer)) == ["step", "parents"]
    assert set(shares_of(arrow_schema())) == set(COLUMN_BY_NAME)
