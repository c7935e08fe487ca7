"""What a trace shows of the laws of a sampled step: settings of the row, and laws of recorded logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.rule import FloatArray, IntArray, NotApplicableError
from tracing.run_facts import SamplingSettings

FLOAT32: Final = 2.0**-24
ROUNDING: Final = 2.0**-12
"""Relative rounding of a probability that was computed in float32; a softmax in bfloat16 is off by 2^-9."""


@dataclass(frozen=True, slots=True)
class RowSampling:
    """How the request of a row chooses, as far as it is known; None where not.

    Attributes:
        settings: Those of the manifest, or None.
        acceptance: Rule by which drafts are accepted.
        temperature, top_k, top_p: As the sampler got them, else as the manifest has them.
    """

    settings: SamplingSettings | None
    acceptance: str
    temperature: float | None
    top_k: int | None
    top_p: float | None

    @property
    def is_greedy(self) -> bool:
        """Whether the request is known to choose greedily."""
        return self.temperature == 0


SAMPLED: Final = "sampled"
"""Stands for the rule of a request that samples, where the rule is not stated."""


def sampling_of(
    request_sampling: Mapping[str, SamplingSettings] | None, request_id: str | None
) -> SamplingSettings | None:
    """Return how a request chooses: by its id, else as every request does; None where not stated."""
    known = request_sampling or {}
    return known.get(request_id or "", known.get(""))


def acceptance_of(
    acceptance: str,
    request_sampling: Mapping[str, SamplingSettings] | None,
    request_id: str | None,
    row_temperature: float | None,
) -> str:
    """Return the rule of a row's request: one that samples among greedy ones has a rule of its own."""
    if acceptance != "greedy":
        return acceptance
    stated = sampling_of(request_sampling, request_id)
    if stated is None:
        return SAMPLED if row_temperature else acceptance
    if not stated.temperature:
        return acceptance
    return SAMPLED if stated.acceptance == "greedy" else stated.acceptance


def chosen_by(
    request_sampling: Mapping[str, Any] | None,
    request_id: str | None,
    acceptance: str,
    *,
    row_temperature: float | None = None,
    row_top_k: int | None = None,
    row_top_p: float | None = None,
) -> RowSampling:
    """Return how the request of a row chooses."""
    stated = sampling_of(request_sampling, request_id)
    if stated is not None and stated.temperature > 0 and stated.acceptance != "greedy":
        acceptance = stated.acceptance
    given = [row_temperature, row_top_k, row_top_p]
    if stated is not None:
        names = ("temperature", "top_k", "top_p")
        given = [
            getattr(stated, name) if value is None else value
            for name, value in zip(names, given, strict=True)
        ]
    temperature, top_k, top_p = given
    return RowSampling(stated, acceptance, temperature, None if top_k is None else int(top_k), top_p)


def require_sampled(chosen: RowSampling) -> None:
    """Leave a law of sampling alone where tokens are chosen greedily.

    Raises:
        NotApplicableError: They are.
    """
    if chosen.is_greedy or (chosen.acceptance == "greedy" and chosen.temperature is None):
        raise NotApplicableError("tokens are chosen greedily")


@dataclass(frozen=True, slots=True)
class KnownLaw:
    """The whole law after a node: every token that can come.

    Attributes:
        ids: Ascending, `[T]`.
        probabilities: `[T]`.
        is_at_border: Rounding may put a token in or out of top-p.
    """

    ids: IntArray
    probabilities: NDArray[np.float64]
    is_at_border: bool

    def of(self, token_id: int) -> float:
        """Return the probability of a token."""
        at = np.flatnonzero(self.ids == token_id)
        return float(self.probabilities[at[0]]) if len(at) else 0.0

    def without(self, tokens: list[int]) -> KnownLaw:
        """Return the law without some tokens, not renormalised."""
        return replace(self, probabilities=np.where(np.isin(self.ids, tokens), 0.0, self.probabilities))


def known_law(ids: IntArray, logits: FloatArray, chosen: RowSampling) -> KnownLaw | None:
    """Return the law of a row from its best logits; None where more tokens may come than are recorded.

    With top-k below the number of recorded logits, and no equal of the k-th one beyond them, they are all.

    Args:
        ids: The K best of the row, best first, `[K]`.
        logits: Theirs.
        chosen: How the request chooses.
    """
    top_k, temperature, top_p = chosen.top_k, chosen.temperature, chosen.top_p
    if not top_k or not temperature or top_p is None or top_k >= len(ids):
        return None
    if chosen.settings is not None and chosen.settings.min_p:
        return None
    row = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(row).all() or row[-1] >= row[top_k - 1]:
        return None
    kept = row >= row[top_k - 1]
    weights = np.where(kept, np.exp((row - row.max()) / temperature), 0.0)
    law = weights / weights.sum()
    is_at_border = False
    if top_p < 1:
        before = np.cumsum(law) - law
        is_at_border = bool((np.abs(before - top_p) < ROUNDING)[kept].any())
        equal = row[:-1] == row[1:]
        edge = int((before < top_p).sum())
        is_at_border |= bool(0 < edge < len(row) and equal[edge - 1])
        law = np.where(before < top_p, law, 0.0)
        law = law / law.sum()
    order = np.argsort(ids)
    return KnownLaw(np.asarray(ids)[order], law[order], is_at_border)


def rounding_of(row: FloatArray, temperature: float | None) -> float:
    """Return the relative rounding of probabilities made of these logits in float32."""
    largest = float(np.abs(np.asarray(row, dtype=np.float64)).max(initial=0.0)) / (temperature or 1.0)
    return ROUNDING / 2 + 8 * FLOAT32 * largest
