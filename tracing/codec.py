"""Stage results as trace columns, and recorded rows as stage results; derived from the results' fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tracing.fields import FieldForm, forms_of
from tracing.stage_validation import ARRAYS

Columns = dict[str, Any]
Result = TypeVar("Result")


def row_columns(result: Any, num_nodes: int | None = None) -> Columns:
    """Return the columns of a row that a stage result fills; values that are None are left out.

    Args:
        result: Result of any stage.
        num_nodes: N, to which fields over drafted nodes are padded; without it those are left out.
    """
    columns: Columns = {}
    for form in forms_of(type(result)):
        value = getattr(result, form.name)
        if form.column is None or form.place == "launch" or value is None:
            continue
        if form.kind == "levels":
            columns[form.column.name] = _kept_beams(value)
        elif "n" not in form.axes:
            columns[form.column.name] = value
        elif num_nodes is not None:
            columns[form.column.name] = _padded(form, value, num_nodes)
    return columns


def launch_columns(result: Any) -> Columns:
    """Return the columns of a stage result that the launch of a later stage is given."""
    return {
        form.column.name: value
        for form in forms_of(type(result))
        if form.column is not None and form.place != "row"
        if (value := getattr(result, form.name)) is not None
    }


def required_columns(result: type) -> tuple[str, ...]:
    """Return the columns of a row without which a result of this class cannot be made from it."""
    return tuple(form.column.name for form in _in_rows(result) if form.column and form.is_required)


def result_of_row(result: type[Result], row: Mapping[str, Any], **given: Any) -> Result:
    """Return a stage result as a recorded row has it.

    Args:
        result: Class of the result.
        row: A step; has the columns of `required_columns`.
        **given: Fields that no column of a row holds.

    Raises:
        KeyError: A required column is not recorded.
    """
    for form in _in_rows(result):
        value = None if form.column is None else row.get(form.column.name)
        if value is not None:
            given.setdefault(form.name, _of_column(form, value))
        elif form.is_required and form.name not in given:
            raise KeyError(form.name)
    return result(**given)


def _in_rows(result: type) -> tuple[FieldForm, ...]:
    """Return the fields that a row holds as they are."""
    return tuple(
        form
        for form in forms_of(result)
        if form.column is not None and form.place != "launch" and form.kind != "levels"
    )


def _of_column(form: FieldForm, value: Any) -> Any:
    if form.kind in ARRAYS:
        dtype = ARRAYS[form.kind][1]
        return np.ma.asanyarray(value, dtype) if form.kind == "masked" else np.asarray(value, dtype)
    return int(value) if form.kind == "number" else value


def _kept_beams(levels: Any) -> NDArray[np.int64]:
    """Return the flat numbers of the beams that were expanded, level after level."""
    return np.concatenate([np.zeros(0, np.int64), *(level.beam_flat_ids for level in levels[1:])])


def _padded(form: FieldForm, value: Any, num_nodes: int) -> Any:
    """Return a field over drafted nodes over all N: zeros for pads, nulls where entries may be null."""
    padded = np.zeros((num_nodes, *np.shape(value)[1:]), dtype=ARRAYS[form.kind][1])
    if form.kind == "masked":
        padded = np.ma.MaskedArray(padded, mask=True)
    padded[: len(value)] = value
    return padded
