"""Mistakes of the level port in the caches and their gathering; each name says what it does."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from causes.level.port import added, mistake
from causes.mistake import bend


@mistake.bends("cache", "catch_up")
def drafter_length_one_short(right: Any, state: Any) -> Any:
    made = right(state)
    state.drafted -= 1
    return made


@mistake("cache")
def drafter_keeps_old_rows(port: Any) -> None:
    """After the first step only the last new row is written."""

    def write(right: Any, cache: Tensor, start: int, key: Tensor, value: Tensor) -> None:
        if cache.shape[2] == 0 or key.shape[1] == 1 or start == 0 or cache.data_ptr() in teacher:
            right(cache, start, key, value)
        else:
            right(cache, start + key.shape[1] - 1, key[:, -1:], value[:, -1:])

    teacher: set[int] = set()
    bend(port, "write", write)

    def run(right: Any, cache: Tensor, *given: Any) -> Any:
        teacher.update(layer.data_ptr() for layer in cache)
        return right(cache, *given)

    bend(port, "run_teacher", run)


mistake.add("cache", "rows-one-too-early", "tree_rows", lambda right, *given: right(*given) - 1)
mistake.add("cache", "one-row-elsewhere", "tree_rows", lambda right, *given: added(right(*given), 6, 2))
mistake.add("commit", "rows-not-gathered", "gather", lambda _, _cache, _length, _rows: None)
mistake.add(
    "commit",
    "gathered-from-the-next-row",
    "gather",
    lambda right, cache, length, rows: right(cache, length, rows + 1),
)
mistake.add(
    "commit",
    "only-keys-gathered",
    "gather",
    lambda right, cache, length, rows: right(cache[:, :1], length, rows),
)
mistake.add(
    "commit",
    "only-the-first-layer-gathered",
    "gather",
    lambda right, cache, length, rows: right(cache[:1], length, rows),
)
mistake.add(
    "commit",
    "gathered-one-row-too-early",
    "gather",
    lambda right, cache, length, rows: right(cache, length - 1, rows),
)
mistake.add(
    "commit",
    "last-row-not-gathered",
    "gather",
    lambda right, cache, length, rows: right(cache, length, rows[:-1]),
)
mistake.add(
    "commit", "length-without-the-root", "length_after", lambda _, length, path: length + len(path) - 1
)
mistake.add("commit", "one-rejected-row-kept", "length_after", lambda _, length, path: length + len(path) + 1)
mistake.add("commit", "length-told-one-too-long", "reported_length", lambda right, state: right(state) + 1)


@mistake.bends("cache", "write")
def values_of_the_tree_not_written(right: Any, cache: Tensor, start: int, key: Tensor, value: Tensor) -> None:
    right(
        cache,
        start,
        key,
        value if start == 0 or key.shape[1] < 8 else cache[1, :, start : start + key.shape[1]],
    )


@mistake("cache")
def tree_written_one_row_late(port: Any) -> None:
    def late(right: Any, cache: Tensor, start: int, key: Tensor, value: Tensor) -> None:
        right(cache, start + (start > 0 and key.shape[1] == port.settings.tree_nodes), key, value)

    bend(port, "write", late)


@mistake("cache")
def tree_overwrites_the_last_committed(port: Any) -> None:
    def early(right: Any, cache: Tensor, start: int, key: Tensor, value: Tensor) -> None:
        right(cache, start, key, value)
        if start > 0 and key.shape[1] == port.settings.tree_nodes:
            right(cache, start - 1, key[:, :1], value[:, :1])

    bend(port, "write", early)
