"""Engines side by side: as many at once as there are processors, at most four."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Asked = TypeVar("Asked")
Given = TypeVar("Given")


def num_at_once() -> int:
    """Return how many engines run at once; each takes about two gigabytes."""
    return min(4, len(os.sched_getaffinity(0)))


def side_by_side(work: Callable[[Asked], Given], asked: Iterable[Asked]) -> Iterator[tuple[Asked, Given]]:
    """Yield each of `asked` with what `work` returns for it, in order; a thread waits for each process."""
    with ThreadPoolExecutor(num_at_once()) as pool:
        try:
            futures = [(each, pool.submit(work, each)) for each in asked]
            for each, future in futures:
                yield each, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
