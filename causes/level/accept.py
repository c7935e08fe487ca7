"""Mistakes of the level port in acceptance; each name says what it does."""

from __future__ import annotations

from typing import Any

import numpy as np

from causes.level.port import bend, mistake


@mistake("accept")
def final_token_of_the_root(port: Any) -> None:
    port.final_token = lambda choices, _path: int(choices[0])


@mistake("accept")
def final_token_of_the_last_row(port: Any) -> None:
    port.final_token = lambda choices, _path: int(choices[-1])


@mistake("accept")
def last_accepted_left_out(port: Any) -> None:
    bend(port, "walk", lambda right, *given: right(*given)[:-1] or [0])


@mistake("accept")
def nothing_accepted(port: Any) -> None:
    port.walk = lambda _tree, _choices: [0]


@mistake("accept")
def first_child_always_accepted(port: Any) -> None:
    bend(port, "walk", lambda right, *given: right(*given) if len(right(*given)) > 1 else [0, 1])


@mistake("accept")
def compared_with_the_own_choice(port: Any) -> None:
    def walk(_: Any, tree: Any, choices: Any) -> list[int]:
        fits = np.flatnonzero((tree.token_ids == choices) & tree.valid & (tree.depths == 1))
        return [0, int(fits[0])] if fits.size else [0, 2]

    bend(port, "walk", walk)


@mistake("accept", need="eos")
def end_of_sequence_ignored(port: Any) -> None:
    port.cut = lambda emitted, remaining: (
        emitted[:remaining],
        "length" if len(emitted) >= remaining else None,
    )


@mistake("accept")
def limit_one_too_late(port: Any) -> None:
    bend(port, "cut", lambda right, emitted, remaining: right(emitted, remaining + 1))


@mistake("accept")
def kept_rows_are_the_first(port: Any) -> None:
    port.kept_rows = lambda state, path: state.length + np.arange(len(path))


@mistake("accept")
def kept_rows_without_the_root(port: Any) -> None:
    bend(port, "kept_rows", lambda right, state, path: right(state, [*path[1:], path[-1]]))
