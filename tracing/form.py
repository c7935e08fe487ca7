"""The form of one step: N, K and H must mean the same in all its columns."""

from __future__ import annotations

from tracing.columns import FORM_AXES, Column
from tracing.errors import ShapeMismatchError


class Form:
    """Sizes of the axis letters of one step, each with the columns that have it."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._said: dict[str, dict[str, int]] = {}

    def size(self, letter: str) -> int | None:
        """Return the size of an axis letter, or None while no column has it."""
        return self._sizes.get(letter)

    def admit(self, column: Column, shape: tuple[int, ...]) -> bool:
        """Check a value's shape against the step; False where that has to wait until N is known.

        Raises:
            ShapeMismatchError: A length disagrees with another column of the step.
        """
        axes = column.axes
        if axes is None or FORM_AXES.isdisjoint(axes):
            return True
        sizes = {"N": shape[0]} if axes == ("N",) else self._sizes_of(column, axes, shape)
        sizes = {letter: size for letter, size in sizes.items() if letter in FORM_AXES}
        for letter, size in sizes.items():
            if self._sizes.get(letter, size) != size:
                self._check(column, letter, size)
        self._sizes.update(sizes)
        self._said[column.name] = sizes
        return bool(sizes)

    def _sizes_of(self, column: Column, axes: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, int]:
        """Return the size of each letter in this value; nothing when it came flat and N is unknown."""
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
        others = [letter for letter in axes if letter != "N"]
        rest = {others[0]: shape[0] // num_nodes} if num_nodes and len(others) == 1 else {}
        return {"N": num_nodes, **rest}

    def _check(self, column: Column, letter: str, size: int) -> None:
        """Refuse a size other than that of another column; a column may be recorded again."""
        others = (name for name, sizes in self._said.items() if letter in sizes and name != column.name)
        other = next(others, None)
        if other is not None:
            raise ShapeMismatchError(
                f"{column.name} has {letter} = {size}, but {other} has {letter} = {self._sizes[letter]} "
                "in this step"
            )
