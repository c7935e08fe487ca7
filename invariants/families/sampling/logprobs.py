"""Log-probabilities that are returned with a text: those of its own tokens, in the stated mode."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from invariants.laws import sampling_of
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import Flags, prefilter
from invariants.rule import FloatArray, IntArray, NotApplicableError, Violation, Violations, invariant
from tracing.run_facts import SamplingSettings

SLACK: Final = 0.01
"""Rounding that is allowed, in nat and as a share of the value: engines compute them in a half precision."""
SEEN: Final = {
    "raw_logprobs": (None, "raw"),
    "raw_logits": (None, "raw"),
    "processed_logprobs": ("processed",),
    "processed_logits": ("processed",),
}
"""By mode: what `logits_kind` must be for the recorded logits to be those that the values were made of."""
Bounds = tuple[float, float]


@invariant(
    "SAMP010",
    stage="accept",
    requires=("ACC001", "ACC005"),
    optional=("logits_kind", "request_sampling", "request_id", "vocab_size"),
)
def logprob_of_another_token(
    *,
    emitted_logprobs: FloatArray,
    emitted_token_ids: IntArray,
    accepted_nodes: IntArray,
    target_top_ids: IntArray,
    target_top_logits: FloatArray,
    **given: Any,
) -> Violations:
    """A log-probability that is returned with the text is not that of the emitted token.

    ## What it does
    Checks that there is one for each emitted token, that none is NaN or above zero, and that each lies
    between the bounds that the recorded best logits of the token's own row leave, in the mode that the
    request states (`logprobs_mode`): raw or processed, log-probability or logit.

    ## Why it matters
    With drafts, several rows are returned at once. Values of a rejected row, of the row after, or of the
    other mode look plausible, and evaluations and rerankers are built on them.

    ## Example
    Token 5 has logit 3 in its row, whose best logits leave -0.2 to -0.1; -2.4 is returned, that of the next
    row.

    ## Seen in
    Engines that gather log-probabilities before rejected rows are taken out.

    ## Limits
    Only the best logits are recorded, so what many small ones add up to is bounded, not known; 1 % is left
    for rounding. Where the mode is not stated, or the recorded logits are of the other kind, only number and
    sign are looked at. Replay with the models knows the whole row.
    """
    if len(emitted_logprobs) != len(emitted_token_ids):
        message = f"{len(emitted_logprobs)} log-probabilities for {len(emitted_token_ids)} emitted tokens"
        yield Violation(
            message, "emitted_logprobs", found=len(emitted_logprobs), expected=len(emitted_token_ids)
        )
        return
    stated = sampling_of(given.get("request_sampling"), given.get("request_id"))
    mode = "" if stated is None else stated.logprobs_mode
    path = [0, *accepted_nodes.tolist()]
    for place, (node, token) in enumerate(zip(path, emitted_token_ids.tolist(), strict=False)):
        value = float(emitted_logprobs[place])
        if math.isnan(value) or (value > SLACK and not mode.endswith("logits")):
            message = f"emitted token {token} has the log-probability {value:g}"
            yield Violation(message, "emitted_logprobs", node, found=str(value))
            return
    if mode not in SEEN or given.get("logits_kind") not in SEEN[mode]:
        raise NotApplicableError("the logits that the values were made of are not recorded, or not known")

    def left(token: int, node: int) -> Bounds:
        best = target_top_ids[node], target_top_logits[node]
        return bounds(token, *best, vocab_size=given.get("vocab_size"), mode=mode)

    for place, (node, token) in enumerate(zip(path, emitted_token_ids.tolist(), strict=False)):
        value = float(emitted_logprobs[place])
        low, high = left(token, node)
        if low - SLACK * (1 + abs(low)) <= value <= high + SLACK * (1 + abs(high)):
            continue
        message = f"emitted token {token} has {value:.4g} as {mode}, the row of node {node} leaves "
        message += f"{low:.4g} to {high:.4g}{_whose(value, node, path, emitted_token_ids, left)}"
        yield Violation(message, "emitted_logprobs", node, found=f"{value:.6g}", expected=f"{low:.6g}")
        return


def bounds(token: int, ids: IntArray, logits: FloatArray, *, vocab_size: int | None, mode: str) -> Bounds:
    """Return the least and the greatest value that a token can have in a row.

    Args:
        token: Its id.
        ids: Best tokens of the row, best first, `[K]`.
        logits: Theirs, `[K]`.
        vocab_size: V, or None where not known.
        mode: As `SamplingSettings.logprobs_mode`.
    """
    row = np.asarray(logits, dtype=np.float64)
    at = np.flatnonzero(np.asarray(ids) == token)
    low, high = (float(row[at[0]]),) * 2 if len(at) else (-math.inf, float(row[-1]))
    if mode.endswith("logits"):
        return low, high
    top = float(row.max())
    listed = top + math.log(float(np.exp(row - top).sum())) if math.isfinite(top) else top
    others = math.inf if vocab_size is None else max(vocab_size - len(row), 0)
    rest = -math.inf if not others or row[-1] == -math.inf else math.log(others) + float(row[-1])
    return low - float(np.logaddexp(listed, rest)), high - listed


def _whose(
    value: float, node: int, path: list[int], emitted: IntArray, left: Callable[[int, int], Bounds]
) -> str:
    """Return a clause that names the emitted token whose value it is, where that is sure."""
    for other, token in zip(path, emitted.tolist(), strict=False):
        low, high = left(token, other)
        if other != node and high - low <= SLACK and low - SLACK <= value <= high + SLACK:
            return f"; it is that of token {token} after node {other}"
    return ""


@prefilter("SAMP010")
def _logprobs_given(emitted_logprobs: Any) -> Flags:  # noqa: ARG001  every such step is looked at
    return True


def with_logprobs(case: Case, mode: str = "raw_logprobs", **row: Any) -> Case:
    """Return the case as of an engine that returns log-probabilities, of a vocabulary of what is recorded."""
    ids, logits = case.row["target_top_ids"], case.row["target_top_logits"]
    size = logits.shape[1]
    path = [0, *case.accepted]
    tokens = case.row["emitted_token_ids"].tolist()
    values = [
        bounds(token, ids[node], logits[node], vocab_size=size, mode=mode)[1]
        for node, token in zip(path, tokens, strict=True)
    ]
    settings = {"": SamplingSettings(logprobs_mode=mode)}  # type: ignore[arg-type]  # one of the modes
    made = case.edited(emitted_logprobs=np.array(values, dtype=np.float32), **row)
    return made.in_run(request_sampling=settings, vocab_size=case.context.vocab_size or size)


def _of_the_row_before(case: Case, _: Pick) -> Case:
    made = with_logprobs(case.where(len(case.accepted), "nothing accepted"), "raw_logits")
    values = made.row["emitted_logprobs"]
    if np.ptp(values) < 4 * SLACK * (1 + np.abs(values).max()):
        raise NoPlaceError("all rows have the same best logit")
    return made.edited(emitted_logprobs=np.roll(values, 1))


MUTATIONS: Final[Changes] = {
    "SAMP010 logprob-too-low": lambda case, pick: with_logprobs(case).moved(
        "emitted_logprobs", pick(range(len(case.accepted) + 1)), -40
    ),
    "SAMP010 logprob-of-the-row-before": _of_the_row_before,
    "SAMP010 logits-for-logprobs": lambda case, _: with_logprobs(with_logprobs(case, "raw_logits")).edited(
        emitted_logprobs=case.row["target_top_logits"][[0, *case.accepted], 0]
    ),
    "SAMP010 one-logprob-missing": lambda case, _: with_logprobs(case).edited(
        emitted_logprobs=np.zeros(len(case.accepted), dtype=np.float32)
    ),
}
