"""Choices of the teacher that a grammar, a bias or a penalty may make another than the best of its logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from invariants.rule import BoolArray, NotApplicableError
from tracing.run_facts import ModelFacts

ALTERED: Final = ("masked", "processed")
"""Kinds of logits that the choice was made from, whatever constrained it."""
CONSTRAINT: Final = ("model_facts", "logits_kind", "allowed_digest")
"""What says whether a choice may be another than the best."""


def unconstrained(
    valid: BoolArray,
    *,
    model_facts: ModelFacts | None = None,
    logits_kind: str | None = None,
    allowed_digest: Any = None,
) -> BoolArray:
    """Return after which nodes the choice must be the best of the recorded logits, `[N]`.

    Raises:
        NotApplicableError: After none of the valid ones.
    """
    free = np.ones(len(valid), dtype=np.bool_)
    if logits_kind not in ALTERED:
        if allowed_digest is not None:
            free = np.ma.getmaskarray(allowed_digest).copy()  # null: every token is allowed
        elif model_facts is not None and model_facts.constrained_choice:
            free[:] = False
    if not free[valid].any():
        raise NotApplicableError("choices are constrained, and the recorded logits are those before it")
    return free


def may_be_constrained(wrong: Sequence[int], valid: BoolArray, constraint: Mapping[str, Any]) -> bool:
    """Whether a few choices that are not the best may be lawful, because nothing says that they are not.

    A step in which half of the choices or more are not the best has another mistake.
    """
    unknown = constraint["model_facts"] is None and constraint["logits_kind"] not in ALTERED
    return unknown and 2 * len(wrong) < int(np.count_nonzero(valid))
