"""What one verification is given and gives, copied so that the engine never waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from workbench.adapters.sglang.trees import VerifiedBatch
from workbench.adapters.vllm.copies import HostCopy

TOP: Final = 8
"""Logits to keep of each node, or the whole vocabulary where it is smaller."""


@dataclass(frozen=True, slots=True)
class Captured:
    """One verification, still on its way to the host.

    Attributes:
        copies: By field of `VerifiedBatch`.
        logits_kind, is_greedy, is_compacted: As there.
    """

    copies: dict[str, HostCopy]
    logits_kind: str
    is_greedy: bool
    is_compacted: bool

    def on_host(self) -> VerifiedBatch:
        """Return it as arrays; called when the engine has its own results."""
        arrays = {name: copy.array() for name, copy in self.copies.items()}
        return VerifiedBatch(
            **arrays, logits_kind=self.logits_kind, is_greedy=self.is_greedy, is_compacted=self.is_compacted
        )


def given(verify_input: Any, batch: Any) -> dict[str, HostCopy]:
    """Copy what a verification is given, before it runs."""
    import torch

    links = (
        verify_input.retrieve_index,
        verify_input.retrieve_next_token,
        verify_input.retrieve_next_sibling,
    )
    return {
        "seq_lens": HostCopy(batch.seq_lens),
        "tokens": HostCopy(verify_input.draft_token),
        "positions": HostCopy(verify_input.positions),
        "slots": HostCopy(batch.out_cache_loc),
        "mask": HostCopy(verify_input.custom_mask),
        "links": HostCopy(torch.stack(links)),
    }


def gave(logits: Any, predict: Any, accept_lens: Any, accept_index: Any) -> dict[str, HostCopy]:
    """Copy what it gave; the best logits are taken on the device, after the engine's own changes to them."""
    best = logits.topk(min(TOP, logits.shape[-1]), dim=-1)
    return {
        "top_ids": HostCopy(best.indices),
        "top_logits": HostCopy(best.values.float()),
        "predict": HostCopy(predict),
        "accept_lens": HostCopy(accept_lens),
        "accept_index": HostCopy(accept_index),
    }


def kind_of(sampling: Any, grammar_mask: Any) -> str:
    """Return what was done to the logits that the choice was made from."""
    changed = ("acc_additive_penalties", "acc_scaling_penalties", "logit_bias")
    if any(getattr(sampling, name, None) is not None for name in changed):
        return "processed"
    return "raw" if grammar_mask is None else "masked"
