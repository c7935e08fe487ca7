"""How large a case is, in the numbers that a report shows before and after."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from reference.drafters import drafter_of
from tracing.models import ModelPair
from workbench.reduce.case import RunCase
from workbench.reduce.outcome import CaseOutcome


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a case; 0 for what it does not have.

    Attributes:
        tokens: Of all prompts.
        committed_len: Tokens before the step of the finding.
        steps: Steps until then, that one included.
        max_new_tokens: As asked for.
        nodes, depth, top_k: Of the tree.
        layers, heads, kv_heads, hidden, width, vocab: Of the teacher.
        bytes: Of all weights.
    """

    tokens: int
    committed_len: int
    steps: int
    max_new_tokens: int
    nodes: int
    depth: int
    top_k: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    width: int
    vocab: int
    bytes: int

    def as_json(self) -> dict[str, int]:
        """Return plain data."""
        return asdict(self)


def sizes_of(case: RunCase, pair: ModelPair, outcome: CaseOutcome | None) -> Sizes:
    """Return the sizes of a case."""
    teacher, settings = pair.teacher, case.settings
    reads = drafter_of(pair).settings
    finding = None if outcome is None else outcome.finding
    return Sizes(
        tokens=case.num_tokens,
        committed_len=0 if outcome is None else outcome.committed_len,
        steps=0 if finding is None else int(finding["step"]) + 1,
        max_new_tokens=settings.max_new_tokens,
        nodes=settings.tree_nodes,
        depth=settings.depth if "depth" in reads else 0,
        top_k=settings.top_k if "top_k" in reads else 0,
        layers=teacher.num_layers,
        heads=teacher.num_heads,
        kv_heads=teacher.num_kv_heads,
        hidden=teacher.hidden_size,
        width=teacher.intermediate_size,
        vocab=teacher.vocab_size,
        bytes=_bytes({**pair.teacher_weights, **{f"d.{n}": t for n, t in pair.drafter_weights.items()}}),
    )


def _bytes(weights: dict[str, Any]) -> int:
    tensors = map(torch.as_tensor, weights.values())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
