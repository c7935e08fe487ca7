"""The paper's studies, one module each under its command-line name; each re-measures its own baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STUDIES: Final = {
    "accept-pos": "acceptance by position, conditional and cumulative",
    "budget": "tree budgets: nodes 16 to 256, depth 4 to 16, chains",
    "window": "drafter-only attention windows",
    "distance": "how far back the drafter looks",
    "modes": "execution modes: fused, eager, operator by operator",
    "commit": "replication and commit modes",
    "vocab": "subsets of the draft vocabulary",
    "stages": "time per stage, measured apart",
    "length": "context lengths 128 to 1,920, time ratio and break-even point, per proposer",
    "heads": "Medusa heads one by one: accuracy, accepted length",
    "medusa-tree": "static trees grown from measured accuracies; writes the fastest as a file of choices",
    "tree-auto": "the chosen tree against fixed ones",
    "enec": "lossless weights: ratio and throughput beside their bounds, zstd and lz4",
    "w4a16": "a teacher in int4 against its own weights, and the product by shape",
    "experts": "imbalance of experts: one of each group against the best of all",
    "temperature": "acceptance and speed greedy, and sampled at 0.6 and 1.0",
    "generate": "transformers.generate, greedy and with prompt lookup",
}
"""Name on the command line, also of the module (`-` for `_`), to what it is."""
SEARCHES: Final = ("eagle3", "draft_model")
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "budget": SEARCHES,
    "tree-auto": SEARCHES,
    "window": ("eagle3",),
    "distance": ("eagle3",),
    "vocab": ("eagle3",),
    "heads": ("medusa",),
    "medusa-tree": ("medusa",),
}
"""Studies of some kinds of drafters alone."""
OF_INT4: Final = ("w4a16",)
"""Studies of a teacher in int4 alone."""
OF_PLAIN: Final = ("generate",)
"""Studies that a teacher in int4 cannot have: the library's own model takes plain weights."""


def fits_weights(study: str, *, in_int4: bool) -> bool:
    """Return whether a study can be made of a teacher with such weights."""
    return study not in (OF_PLAIN if in_int4 else OF_INT4)


def subject(study: str, proposers: Mapping[str, object]) -> str | None:
    """Return the first proposer that a study can be made of, or None."""
    return next((name for name in proposers if name in NEEDS.get(study, (name,))), None)
