"""Recorded decisions of a sampled run, verified by the reference's logits and the recorded draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reference.sampling.rules import RULES
from tracing.settings import DRAWN_DRAFTS, DecodeSettings
from tracing.stages import Tensorized
from workbench.judge.evidence import AcceptEvidence, PrefillEvidence
from workbench.lockstep.truth.sampled import TurnEnd, verified_outcome, verified_root

Row = Mapping[str, Any]


def sampled_root(
    part: PrefillEvidence, settings: DecodeSettings, row: Row, logits: Sequence[Any]
) -> PrefillEvidence:
    """Set the root that the step's first draw gives; the recorded one where rounding allows it.

    Args:
        part: The recorded context.
        settings: Warping.
        row: The recorded step.
        logits: After the prompt: the truth, then samples, each `[V]`.
    """
    draws, context = row.get("draws"), part.fused_context_token_ids
    if draws is None or not len(draws) or context is None or settings.acceptance not in RULES:
        return replace(part, reference_context_token_ids=None)
    truth, *samples = logits
    root = verified_root(settings, truth, draws[:1].tolist(), int(context[-1]), samples)
    return replace(
        part,
        draws=np.asarray(draws[:1]),
        num_draws=root.num_draws,
        draw_ties=root.ties,
        reference_context_token_ids=np.array([*part.prompt_token_ids, root.token_id], dtype=np.int64),
    )


def sampled_accept(
    part: AcceptEvidence, settings: DecodeSettings, row: Row, tree: Tensorized, logits: Sequence[Any]
) -> AcceptEvidence:
    """Set the path that the step's draws accept; the recorded one where rounding allows it.

    Args:
        part: The recorded acceptance.
        settings: Rule and warping.
        row: The recorded step.
        tree: Its tree.
        logits: Of the nodes: the truth, then samples, each `[N, V]`.
    """
    draws = row.get("draws")
    if draws is None or part.fused is None or settings.acceptance not in RULES:
        return replace(part, reference=None)
    if settings.acceptance in DRAWN_DRAFTS:  # the laws of drafts are not in the trace
        return replace(part, reference=None)
    taken = np.asarray(draws, dtype=np.float64)[row.get("context_token_ids") is not None :]
    turn = TurnEnd(part.remaining, part.eos_token_ids)
    law = verified_outcome(settings, tree, turn, taken.tolist(), part.fused, own=None, true=logits)
    # Probabilities and settings follow from the trace alone, and rules look at them.
    accepted = replace(law.accepted, target_probs=None)
    return replace(part, draws=taken, draw_ties=law.ties, reference=accepted)
