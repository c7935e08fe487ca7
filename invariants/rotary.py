"""The constant by which rotary positions may lag or lead the cache: declared, none, or not known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from invariants.rule import IntArray, NotApplicableError
from tracing.run_facts import ModelFacts

LEAST_LAG = 2
"""An undeclared lag of so many positions may be lawful; of one it is the classic mistake."""


def declared_offset(
    model_facts: ModelFacts | None, request_offsets: Mapping[str, int], request_id: str | None
) -> int | None:
    """Return the offset of a request, or else that of the model; None where neither is known."""
    if request_id is not None and request_id in request_offsets:
        return request_offsets[request_id]
    if "" in request_offsets:
        return request_offsets[""]
    return None if model_facts is None else model_facts.rotary_offset


def lawful_offset(offsets: IntArray, declared: int | None, before: int | None = None) -> int:
    """Return the offset that all positions of a step should have, given those that they have.

    Args:
        offsets: Position - L - depth of each valid node, at least one.
        declared: What the manifest declares, None where it does not.
        before: Offset of the root in the step before, None where not known.

    Raises:
        NotApplicableError: All lag by the same number, as in the step before, and whether they may is not
            known.
    """
    found = set(np.unique(offsets).tolist())
    if declared is not None:
        return declared if found == {declared} else 0
    lag = -int(offsets.flat[0])
    if len(found) > 1 or lag < LEAST_LAG or before not in {None, -lag}:
        return before if before is not None and before <= -LEAST_LAG else 0
    raise NotApplicableError(
        f"all rotary positions lag L + depth by {lag}, as behind a picture in the prompt, and the manifest "
        "does not say whether they may (rotary_offset of model_facts or of the request)"
    )
