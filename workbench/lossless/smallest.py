"""The smallest problem that shows a fault, found and shrunk by hypothesis where it is installed."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product
from typing import Any, Final

from workbench.lossless.problem import Drafts, Problem, TokenPath, as_law

MAX_EXAMPLES: Final = 300
MAX_WEIGHT: Final = 4


def smallest_problem(
    shows: Callable[[Problem], bool], drafts: Drafts, *, chains: bool, seconds: float
) -> Problem | None:
    """Return a problem as small as hypothesis makes it, None if it found none in time.

    Args:
        shows: Whether a problem shows the fault.
        drafts: How drafts come about in it.
        chains: Whether nodes have at most one child.
        seconds: Time after which it stops looking.

    Raises:
        ModuleNotFoundError: hypothesis is not installed.
    """
    from hypothesis import HealthCheck, Phase, find, settings
    from hypothesis.errors import HypothesisException

    until = time.monotonic() + seconds

    def in_time(problem: Problem) -> bool:
        return time.monotonic() < until and shows(problem)

    try:
        problem: Problem = find(
            _problems(drafts, chains=chains),
            in_time,
            settings=settings(
                max_examples=MAX_EXAMPLES,
                database=None,
                derandomize=True,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
    except HypothesisException:
        return None
    return problem


def _problems(drafts: Drafts, *, chains: bool) -> Any:
    from hypothesis import strategies as st

    @st.composite
    def problems(draw: Any) -> Problem:
        depth = draw(st.integers(1, 2))
        vocab = draw(st.integers(2, 3 if depth > 1 else 4))
        weights = st.lists(st.integers(0, MAX_WEIGHT), min_size=vocab, max_size=vocab).filter(any)
        paths = [path for length in range(depth + 1) for path in product(range(vocab), repeat=length)]
        inner = [path for path in paths if len(path) < depth]
        target = {path: as_law(draw(weights)) for path in paths}
        draft = {path: as_law(draw(weights)) for path in inner}
        width = 1 if chains or depth > 1 else draw(st.integers(1, 2))
        tree: dict[TokenPath, tuple[int, ...]] = {}
        if drafts in ("fixed", "top"):
            children = st.lists(
                st.integers(0, vocab - 1), min_size=1, max_size=1 if chains else 2, unique=True
            )
            level: list[TokenPath] = [()]
            while level and len(level[0]) < depth:
                tree |= {path: tuple(draw(children)) for path in level}
                level = [(*path, token) for path in level for token in tree[path]]
        return Problem("shrunk", vocab, depth, target, draft, drafts, tree, width)

    return problems()
