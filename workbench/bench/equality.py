"""Compares texts token by token; the first difference is judged as a near tie or as a different text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from workbench.bench.turn import Match

Compare = Callable[[Sequence[int], Sequence[int], Sequence[int]], Match]
"""`(prompt_token_ids, baseline_token_ids, other_token_ids)`."""


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Return the first position at which two texts differ, the end of the shorter one included."""
    pairs = enumerate(zip_longest(one, other))
    return next((position for position, (left, right) in pairs if left != right), None)


class NearTieJudge:
    """Compares texts; the truth at the first difference is computed only where there is one.

    Args:
        make_runner: Builds the reference, with the truth one precision above the tested path's dtype.
        dtype: The tested path's dtype.
    """

    def __init__(self, make_runner: Callable[[], Any], dtype: str) -> None:
        self._make_runner = make_runner
        self._runner: Any = None
        self._dtype = dtype

    def __call__(self, prompt: Sequence[int], baseline: Sequence[int], other: Sequence[int]) -> Match:
        """Return whether two texts after one prompt are equal, else whether rounding explains it."""
        position = first_difference(baseline, other)
        if position is None:
            return Match("equal")
        tokens = tuple(text[position] if position < len(text) else None for text in (baseline, other))
        if None in tokens:
            return Match("different", position, f"one text ends after {position} tokens, the other continues")
        return self._at(position, [*prompt, *baseline[:position]], tokens)

    def _at(self, position: int, prefix: Sequence[int], tokens: Sequence[int | None]) -> Match:
        from workbench.lockstep.truth.ties import token_gaps

        self._runner = self._runner or self._make_runner()
        measured = token_gaps(self._runner, prefix, tokens, self._dtype)
        gap = max(measured.gaps)
        why = (
            f"token {position} is {tokens[0]} and {tokens[1]}; the worse is {gap:.3g} behind the best, "
            f"rounding allows {measured.allowance:.3g}"
        )
        return Match("near_tie" if gap <= measured.allowance else "different", position, why)
