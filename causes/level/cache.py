"""Mistakes of the level port in the caches and their gathering; each name says what it does."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from causes.level.port import added, bend, mistake


@mistake("cache")
def drafter_length_one_short(port: Any) -> None:
    def short(right: Any, state: Any) -> Any:
        made = right(state)
        state.drafted -= 1
        return made

    bend(port, "catch_up", short)


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


@mistake("cache")
def rows_one_too_early(port: Any) -> None:
    bend(port, "tree_rows", lambda right, *given: right(*given) - 1)


@mistake("cache")
def one_row_elsewhere(port: Any) -> None:
    bend(port, "tree_rows", lambda right, *given: added(right(*given), 6, 2))


@mistake("commit")
def rows_not_gathered(port: Any) -> None:
    port.gather = lambda _cache, _length, _rows: None


@mistake("commit")
def gathered_from_the_next_row(port: Any) -> None:
    bend(port, "gather", lambda right, cache, length, rows: right(cache, length, rows + 1))


@mistake("commit")
def only_keys_gathered(port: Any) -> None:
    bend(port, "gather", lambda right, cache, length, rows: right(cache[:, :1], length, rows))


@mistake("commit")
def only_the_first_layer_gathered(port: Any) -> None:
    bend(port, "gather", lambda right, cache, length, rows: right(cache[:1], length, rows))


@mistake("commit")
def gathered_one_row_too_early(port: Any) -> None:
    bend(port, "gather", lambda right, cache, length, rows: right(cache, length - 1, rows))


@mistake("commit")
def last_row_not_gathered(port: Any) -> None:
    bend(port, "gather", lambda right, cache, length, rows: right(cache, length, rows[:-1]))


@mistake("commit")
def length_without_the_root(port: Any) -> None:
    port.length_after = lambda length, path: length + len(path) - 1


@mistake("commit")
def one_rejected_row_kept(port: Any) -> None:
    port.length_after = lambda length, path: length + len(path) + 1


@mistake("commit")
def length_told_one_too_long(port: Any) -> None:
    bend(port, "reported_length", lambda right, state: right(state) + 1)


@mistake("cache")
def values_of_the_tree_not_written(port: Any) -> None:
    def keys_only(right: Any, cache: Tensor, start: int, key: Tensor, value: Tensor) -> None:
        right(
            cache,
            start,
            key,
            value if start == 0 or key.shape[1] < 8 else cache[1, :, start : start + key.shape[1]],
        )

    bend(port, "write", keys_only)


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
