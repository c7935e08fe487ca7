"""How a field of a stage result is written down: its trace column, its shape in axis letters, its dtype.

The metadata is on the fields themselves, in `tracing.results`; a recorded field takes shape and dtype from
the table of columns. All else about results is derived: validation, trace columns, results of recorded rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, Final, Literal

from tracing.columns import COLUMN_BY_NAME, Column

Kind = Literal[
    "int", "bool", "float", "double", "masked", "tensor", "levels", "number", "real", "truth", "text"
]
"""What a value is: host arrays, a tensor of the path's own, levels of a beam search, or a scalar."""
Place = Literal["both", "row", "launch"]
"""Where a field is recorded: in the row of the step, with the launch of a later stage, or both."""

_KEY: Final = "trace"
_OF_ARRAY: Final[Mapping[str, Kind]] = {"float32": "float", "float64": "double", "bool": "bool"}
_OF_SCALAR: Final[Mapping[str, Kind]] = {
    "bool": "truth",
    "float32": "real",
    "string": "text",
    "dictionary": "text",
}


@dataclass(frozen=True, slots=True)
class _Written:
    column: str | None
    kind: Kind | None
    axes: tuple[str, ...]
    place: Place


def recorded(
    column: str = "", *axes: str, kind: Kind | None = None, place: Place = "both"
) -> dict[str, _Written]:
    """Metadata of a field that fills a trace column.

    Args:
        column: The column; the field's own name where empty.
        axes: The field's shape where it is not the column's, e.g. before padding.
        kind: The field's kind where it is not the column's.
        place: Where the field is recorded.
    """
    return {_KEY: _Written(column, kind, axes, place)}


def unrecorded(kind: Kind, *axes: str) -> dict[str, _Written]:
    """Metadata of a field that no trace column holds."""
    return {_KEY: _Written(None, kind, axes, "both")}


@dataclass(frozen=True, slots=True)
class FieldForm:
    """The form of one field.

    Attributes:
        name: Name of the field.
        column: Column that it fills, or None.
        kind: What its values are.
        axes: A letter (or expression) per dimension: n drafted nodes, F width of the tapped features, V
            teacher vocabulary, B beams, C rows of K candidates; the others as in `tracing.columns`.
        place: Where the field is recorded.
        is_optional: None is a legal value.
        is_required: A result cannot be made without it.
    """

    name: str
    column: Column | None
    kind: Kind
    axes: tuple[str, ...]
    place: Place
    is_optional: bool
    is_required: bool


def forms_of(result: type) -> tuple[FieldForm, ...]:
    """Return the form of every field of a stage result's class that has metadata, in order."""
    if result not in _KNOWN:
        written = ((each, each.metadata[_KEY]) for each in fields(result) if _KEY in each.metadata)
        _KNOWN[result] = tuple(_form(*each) for each in written)
    return _KNOWN[result]


def _form(of: Field[Any], written: _Written) -> FieldForm:
    column = None if written.column is None else COLUMN_BY_NAME[written.column or of.name]
    return FieldForm(
        of.name,
        column,
        written.kind or _kind(column),
        written.axes or (() if column is None else column.axes or ()),
        written.place,
        is_optional=of.default is None,
        is_required=of.default is MISSING,
    )


def _kind(column: Column | None) -> Kind:
    assert column is not None  # `unrecorded` names a kind
    if not column.is_list:
        return _OF_SCALAR.get(column.kind, "number")
    return "masked" if column.null_entries else _OF_ARRAY.get(column.kind, "int")


_KNOWN: Final[dict[type, tuple[FieldForm, ...]]] = {}
