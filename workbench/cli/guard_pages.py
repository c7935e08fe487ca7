"""Rules that stand beside a guard in the code and in no catalogue: what a run says when it cannot go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_WATCHED: Final = (
    "Seen by `specwb diff --watch-indices`; the message says what the device does, with its source."
)


@dataclass(frozen=True, slots=True)
class Guard:
    """One such rule.

    Attributes:
        name: Name of the defect.
        summary: One line.
        text: What else is to be said.
    """

    name: str
    summary: str
    text: str


GUARDS: Final = {
    "RUN-STAGE-RAISED": Guard(
        "stage-raised",
        "A stage of the path under test ended in an exception.",
        "The message is the exception's own. The step ends here; what it gave until then is recorded.",
    ),
    "RUN-WEIGHTS-CHANGED": Guard(
        "weights-changed",
        "The weights that both paths share were written to during the run.",
        "They are digested before and after. Nothing that such a run shows holds.",
    ),
    "CACHE-TABLE-RANGE": Guard(
        "position-beyond-the-block-table",
        "A logical cache position has no block in the block table.",
        "Our paged cache refuses it. A device writes or reads outside the cache, unchecked.",
    ),
    "CACHE-PATH-RANGE": Guard(
        "path-index-beyond-the-branch",
        "`path_indices` name a row that the branch cache does not have.",
        "Our commit refuses the gather. A device reads outside the cache, unchecked.",
    ),
    "TREE-PARENT-RANGE": Guard(
        "parent-dereferenced-out-of-range",
        "The ancestor table was asked to follow a parent outside 0..N-1.",
        "Our tensorize refuses the gather; the invariant TREE001 says the same of a recorded step.",
    ),
    "NPU-INDEX-NEGATIVE": Guard(
        "negative-index-value", "An index operator was given a negative value.", _WATCHED
    ),
    "NPU-INDEX-RANGE": Guard(
        "index-value-out-of-range", "An index operator was given a value at or past its bound.", _WATCHED
    ),
}
"""By rule id."""
