"""Mistakes of the level port in acceptance; each name says what it does."""

from __future__ import annotations

from typing import Any

import numpy as np

from causes.level.port import mistake

mistake.add("accept", "final-token-of-the-root", "final_token", lambda _, choices, _path: int(choices[0]))
mistake.add(
    "accept", "final-token-of-the-last-row", "final_token", lambda _, choices, _path: int(choices[-1])
)
mistake.add("accept", "last-accepted-left-out", "walk", lambda right, *given: right(*given)[:-1] or [0])
mistake.add("accept", "nothing-accepted", "walk", lambda _, _tree, _choices: [0])
mistake.add(
    "accept",
    "first-child-always-accepted",
    "walk",
    lambda right, *given: right(*given) if len(right(*given)) > 1 else [0, 1],
)


@mistake.bends("accept", "walk")
def compared_with_the_own_choice(_: Any, tree: Any, choices: Any) -> list[int]:
    fits = np.flatnonzero((tree.token_ids == choices) & tree.valid & (tree.depths == 1))
    return [0, int(fits[0])] if fits.size else [0, 2]


mistake.add(
    "accept",
    "end-of-sequence-ignored",
    "cut",
    lambda _, emitted, remaining: (emitted[:remaining], "length" if len(emitted) >= remaining else None),
    need="eos",
)
mistake.add(
    "accept", "limit-one-too-late", "cut", lambda right, emitted, remaining: right(emitted, remaining + 1)
)
mistake.add(
    "accept",
    "kept-rows-are-the-first",
    "kept_rows",
    lambda _, state, path: state.length + np.arange(len(path)),
)
mistake.add(
    "accept",
    "kept-rows-without-the-root",
    "kept_rows",
    lambda right, state, path: right(state, [*path[1:], path[-1]]),
)
