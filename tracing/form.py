"""The form of one step: N, K and H must mean the same in all its columns."""

from __future__ import annotations

from tracing.columns import FORM_AXES, Column
from tracing.errors import ShapeMismatchError


class Form:
    """Sizes of the axis letters of one step, each with the columns that have said so."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._said_by: dict[str, list[str]] = {}

    def size(self, letter: str) -> int | None:
        """Return the size of an axis letter, or None while no column has said it."""
        return self._sizes.get(letter)

    def admit(self, column: Column, shape: tuple[int, ...]) -> bool:
        """Check a value's shape against the step; False where it cannot be told before N is known.

        Raises:
            ShapeMismatchError: A length disagrees with another column of the step.
        """
        if column.axes is None or not FORM_AXES.intersection(column.axes):
            return True
        sizes = self._sizes_of(column, column.axes, shape)
        for letter, size in sizes.items():
            self._check(column, letter, size)
        for letter, size in sizes.items():
            self._sizes[letter] = size
            said_by = self._said_by.setdefault(letter, [])
            if column.name not in said_by:
                said_by.append(column.name)
        return bool(sizes)

    def _sizes_of(self, column: Column, axes: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, int]:
        """Return what this value says about each letter; nothing when it came flat and N is unknown."""
        if len(shape) == len(axes):
            return dict(zip(axes, shape, strict=True))
        if axes == ("N", "N"):
            return {"N": round(shape[0] ** 0.5)}
        num_nodes = self._sizes.get("N")
        if num_nodes is None:
            return {}
        if shape[0] % num_nodes if num_nodes else shape[0]:
            raise ShapeMismatchError(
                f"{column.name} should be {column.shape_text} with N = {num_nodes}, got {shape[0]} values"
            )
        return {"N": num_nodes, axes[1]: shape[0] // num_nodes} if num_nodes else {"N": 0}

    def _check(self, column: Column, letter: str, size: int) -> None:
        known = self._sizes.get(letter)
        others = [name for name in self._said_by.get(letter, ()) if name != column.name]
        if known is not None and size != known and others:
            raise ShapeMismatchError(
                f"{column.name} has {letter} = {size}, but {others[0]} has {letter} = {known} in this step"
            )
