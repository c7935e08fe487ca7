"""Rules that do not apply to a path that is fed another path's values, as the reference is when staged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from invariants.catalogue import CATALOGUE
from tracing.reader import Run

FED: Final = "its values were fed by the other path (staged lockstep)"
LIVE: Final[Mapping[str, str]] = {
    "ROW003": "a path that is fed values leaves out acceptance where a near tie makes it another's"
}
"""Rules left out of a live run, by id, and why; the run itself skips steps that were fed wrong values."""


def is_fed(run: Run, path_name: str) -> bool:
    """Whether a path's steps were given to it by the path under test, so that it owns no state."""
    return run.manifest.get("lockstep") == "staged" and path_name == "reference"


def recorded() -> Mapping[str, str]:
    """Return the rules that are left out of a recorded run, by id, and why.

    Those over several steps, and those over its own choices together with an acceptance that followed the
    other path's choices (which legally differ in a near tie).
    """
    return {
        rule.id: FED
        for rule in CATALOGUE
        if rule.scope != "step"
        or (rule.stage in {"accept", "commit"} and "target_token_ids" in rule.arguments)
    }
