"""Sound ways to compute the same: what rounding may do to a path, as samples of the reference show it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from reference.arithmetic import Arithmetic
from reference.stored import CacheRounding
from tracing.run_facts import ModelFacts
from workbench.judge.rounded_cache import ROUNDED

DRAWN: Final = (1, 3, 12)
"""Samples that are drawn at once, then while a row is not explained, and before it is called wrong. More
samples only ever allow more. Now and then one computation amplifies its rounding forty times on one row,
where three others do not (measured on the shipped pair); among a dozen one does."""


def is_unknown(cache_dtype: str) -> bool:
    """Whether the cache rounds in a way that the reference cannot follow."""
    return bool(cache_dtype) and cache_dtype not in ROUNDED


def why_unable(facts: ModelFacts) -> str:
    """Return why the numbers of a path with such a cache cannot be followed; empty where they can."""
    dtype = facts.cache_dtype
    return f"the cache is rounded to {dtype}, which is not known here" if is_unknown(dtype) else ""


def cache_rounding(facts: ModelFacts) -> CacheRounding | None:
    """Return how the cache rounds; None where it does not, or in a way that is not known."""
    if not facts.cache_dtype or is_unknown(facts.cache_dtype):
        return None
    return CacheRounding(facts.cache_dtype, facts.cache_scale)


def ways_to_compute(count: int, dtype: str, cache: CacheRounding | None = None) -> tuple[Arithmetic, ...]:
    """Return sound ways to compute the same: the natural one, then others.

    Where the cache rounds, the first way reads rows before they are rounded, and the others draw neighbours.

    In float32 another order of sums is another rounding. In a half precision, where sums run in float32, it
    hardly ever is: there the second way rounds where fused kernels do, and the others round at random.
    """
    if cache is not None:
        kept = replace(cache, mode="kept")
        drawn = (replace(cache, mode="drawn", seed=number) for number in range(1, count))
        return tuple(map(_with_cache, ways_to_compute(count, dtype), [kept, *drawn]))
    if dtype == "float32":
        return tuple(Arithmetic(seed=number or None) for number in range(count))
    dithered = (Arithmetic(seed=number, rounds_once=True, dithers=True) for number in range(1, count - 1))
    return (Arithmetic(), Arithmetic(rounds_once=True), *dithered)[:count]


def _with_cache(way: Arithmetic, cache: CacheRounding) -> Arithmetic:
    return replace(way, cache=cache)
