"""Results of a stage as they are received: of the type, kinds and shapes that the seam prescribes.

Only form is checked here: a number that is merely wrong passes, is recorded and judged. Lists and tensors
become host arrays; every array and tensor is copied, so that a later stage of the path that writes into what
an earlier one gave does not change what the earlier one is judged by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from tracing.errors import ShapeMismatchError
from tracing.fields import FieldForm, forms_of
from tracing.hostarray import host_array
from tracing.results import RESULT_OF_STAGE, DraftLevel

Sizes = dict[str, int]
"""Letter of a dimension to its size; a letter that is not there yet takes the first size that comes."""
ToTensor = Callable[[str, Any], Any]
"""Copies a named tensor, or host floats, to a plain tensor; refuses what holds no values."""

ARRAYS: Final[Mapping[str, tuple[str, type]]] = {
    "int": ("iu", np.int64),
    "bool": ("b", np.bool_),
    "float": ("f", np.float32),
    "double": ("f", np.float64),
    "masked": ("iu", np.int32),
}
"""Kind of an array to the dtype kinds that are taken, and the dtype that it becomes."""
SCALARS: Final[Mapping[str, tuple[str, str]]] = {
    "number": ("iu", "one integer"),
    "real": ("iuf", "one number"),
    "truth": ("b", "True or False"),
}
"""Kind of a scalar to the dtype kinds that are taken, and what it is called."""
MAX_ENTRIES: Final = 1 << 24
"""Entries of an array whose shape the run does not know before; it is copied."""
FREE: Final = "A*"
"""Letters of lengths that the judge, not the form, has to hold to the step."""


class InvalidStageResultError(Exception):
    """A result that is none of its stage's.

    Attributes:
        column: Field of the result, or empty for the result as a whole.
        expected, came: What it should be and what it is, as short text.
    """

    def __init__(self, column: str, expected: str, came: str) -> None:
        super().__init__(f"{column or 'its result'} should be {expected}, got {came}")
        self.column = column
        self.expected = expected
        self.came = came


def validated(stage: str, result: Any, sizes: Mapping[str, int], to_tensor: ToTensor) -> Any:
    """Return a copy of a stage's result, with host arrays where the seam has them.

    Args:
        stage: One of `tracing.moment.STAGES`.
        result: What the stage returned.
        sizes: The dimensions that are known: L, V, F and N.
        to_tensor: Makes a plain tensor of a field's tensor, or of its host floats.

    Raises:
        InvalidStageResultError: It does not have the form of that stage's result.
    """
    kind = RESULT_OF_STAGE[stage]
    if not isinstance(result, kind):
        raise InvalidStageResultError("", f"a {kind.__name__}", _name(result))
    return _Fields(dict(sizes), to_tensor).copy(result)


class _Fields:
    """Copies the fields of one result; sizes seen in one field bind the next ones."""

    def __init__(self, sizes: Sizes, to_tensor: ToTensor) -> None:
        self.sizes = sizes
        self._to_tensor = to_tensor

    def copy(self, result: Any) -> Any:
        kind = type(result)
        return kind(**{form.name: self._field(form, getattr(result, form.name)) for form in forms_of(kind)})

    def _field(self, form: FieldForm, value: Any) -> Any:
        if value is None and form.is_optional:
            return None
        if value is None and any(self.sizes.get(axis) == 0 for axis in form.axes):
            value = np.zeros([self.sizes.get(axis, 0) for axis in form.axes], dtype=np.float32)
        if form.kind == "levels":
            return _levels(value, self._to_tensor)
        if form.kind == "tensor":
            return self._tensor(form, value)
        return self._array(form, value) if form.kind in ARRAYS else _scalar(form, value)

    def _array(self, form: FieldForm, value: Any) -> Any:
        name, kind = form.name, form.kind
        accepted, dtype = ARRAYS[kind]
        try:
            array = host_array(value, name)
        except ShapeMismatchError as problem:
            raise InvalidStageResultError(
                name, f"an array of {kind}", f"{_name(value)} ({problem})"
            ) from problem
        if array.size == 0 and isinstance(value, (list, tuple)):
            array = array.astype(dtype)  # an empty list has no kind of its own
        hidden = np.ma.is_masked(array) and kind != "masked"
        if array.dtype.kind not in accepted or hidden:
            came = "missing values" if hidden else str(array.dtype)
            raise InvalidStageResultError(name, f"an array of {kind}", came)
        self._fit(name, array.shape, form.axes)
        copied = np.ma.MaskedArray if kind == "masked" else np.asarray
        return copied(array).astype(dtype, copy=True)

    def _tensor(self, form: FieldForm, value: Any) -> Any:
        """Copy a float tensor; it stays on its device and in its dtype."""
        name = form.name
        if not hasattr(value, "detach"):
            try:
                value = np.array(host_array(value, name))
            except ShapeMismatchError as problem:
                raise InvalidStageResultError(name, "a tensor of floats", _name(value)) from problem
            if value.dtype.kind != "f":
                raise InvalidStageResultError(name, "a tensor of floats", f"an array of {value.dtype}")
        self._fit(name, tuple(value.shape), form.axes)
        tensor = self._to_tensor(name, value)
        if not tensor.is_floating_point():
            raise InvalidStageResultError(name, "a tensor of floats", str(tensor.dtype))
        return tensor

    def _fit(self, name: str, shape: tuple[int, ...], dims: Sequence[str]) -> None:
        """Compare a shape with its dimensions (`N`, `L+1`, `n-1`) and remember the letters seen first."""
        if len(shape) != len(dims):
            raise InvalidStageResultError(name, f"of shape [{', '.join(dims)}]", str(list(shape)))
        if any(_letter(dim)[0] not in self.sizes for dim in dims) and math.prod(shape) > MAX_ENTRIES:
            raise InvalidStageResultError(name, f"of at most {MAX_ENTRIES} entries", str(list(shape)))
        for dim, size in zip(dims, shape, strict=True):
            letter, more = _letter(dim)
            if letter not in FREE and self.sizes.setdefault(letter, size - more) + more != size:
                wanted = [self.sizes.get(each, -1) + plus for each, plus in map(_letter, dims)]
                expected = ", ".join("any" if one < 0 else str(one) for one in wanted)
                raise InvalidStageResultError(name, f"of shape [{expected}]", str(list(shape)))


def _letter(dim: str) -> tuple[str, int]:
    return dim[0], int(dim[1:] or 0)


def _scalar(form: FieldForm, value: Any) -> Any:
    name, kind = form.name, form.kind
    if kind == "text":
        if isinstance(value, str):
            return value
        raise InvalidStageResultError(name, "text", _name(value))
    try:
        array = host_array(value if hasattr(value, "__array__") else np.asarray(value), name)
    except ShapeMismatchError as problem:
        raise InvalidStageResultError(name, "one number", _name(value)) from problem
    allowed, expected = SCALARS[kind]
    if array.size != 1 or array.dtype.kind not in allowed:
        raise InvalidStageResultError(
            name, expected, f"{_name(value)} of {array.dtype}, shape {list(array.shape)}"
        )
    return array.item()


def _levels(value: Any, to_tensor: ToTensor) -> tuple[DraftLevel, ...]:
    """Copy the levels of a beam search: one row at level 0, which has no beams, then a row per beam."""
    if not isinstance(value, (list, tuple)):
        raise InvalidStageResultError("levels", "a tuple of DraftLevel", _name(value))
    sizes: Sizes = {}
    levels = []
    for number, level in enumerate(value):
        if not isinstance(level, DraftLevel):
            raise InvalidStageResultError(
                "levels", "a tuple of DraftLevel", f"{_name(level)} at level {number}"
            )
        sizes = {name: size for name, size in sizes.items() if name == "K"}
        levels.append(_Fields(sizes, to_tensor).copy(level))
        beams = 1 if number == 0 else sizes["B"]
        if sizes["C"] != beams or (number == 0 and sizes["B"]):
            raise InvalidStageResultError(
                "levels", f"{beams} rows at level {number}", f"{sizes['C']} of {sizes['B']} beams"
            )
    return tuple(levels)


def _name(value: Any) -> str:
    return "None" if value is None else type(value).__name__
