"""Where a request may end: tokens that end it and how many it may emit, its own limits before the run's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from invariants.rule import IntArray
from tracing.run_facts import RequestLimits, limits_of


@dataclass(frozen=True, slots=True)
class Ends:
    """Ends of one request.

    Attributes:
        eos: Tokens of the model that end it; None where not known.
        stop_tokens: Tokens of its own that end it.
        limits: Its limits, or None where the manifest has none.
    """

    eos: frozenset[int] | None
    stop_tokens: frozenset[int]
    limits: RequestLimits | None

    @property
    def all(self) -> frozenset[int]:
        """Every token that ends it, as far as known."""
        return (self.eos or frozenset()) | self.stop_tokens


def ends_of(
    eos_token_ids: frozenset[int] | None,
    request_limits: Mapping[str, RequestLimits] | None,
    request_id: str | None,
) -> Ends:
    """Return the ends of a request: by its id, else those of every request, else the model's alone.

    A request that must emit a minimum of tokens may hold ending tokens among them; none is known of it.
    """
    limits = limits_of(request_limits, request_id)
    if limits is None:
        return Ends(eos_token_ids, frozenset(), None)
    if limits.min_new_tokens:
        return Ends(frozenset(), frozenset(), limits)
    eos = frozenset[int]() if limits.ignore_eos else eos_token_ids
    return Ends(eos, frozenset(limits.stop_token_ids), limits)


def last_emitted(
    final_token_id: int, emitted_token_ids: IntArray | None, discarded_token_ids: IntArray | None
) -> int:
    """Return the token that the user got last: the final one, unless a tail was thrown away."""
    if discarded_token_ids is None or emitted_token_ids is None or not np.size(discarded_token_ids):
        return int(final_token_id)
    return int(emitted_token_ids[-1]) if len(emitted_token_ids) else int(final_token_id)
