"""The rejection samplers of vLLM-Ascend as verify functions: its torch forms, and one rule restated.

`specwb lossless workbench.lossless.samplers.ascend:block_restated` needs torch alone. It is the opt-in block
rule in our own words: accept up to the last position where the product of min(1, p/q) is at least that of the
draws.
"""

from __future__ import annotations

from typing import Any

import torch


def block_restated(
    draft_token_ids: torch.Tensor, draft_probs: torch.Tensor, target_probs: torch.Tensor
) -> Any:
    """The block rule as its code has it, restated; the replacement comes from max(prefix * p - q, 0)."""
    count = len(draft_token_ids)
    rows = torch.arange(count)
    ratios = target_probs[rows, draft_token_ids] / draft_probs[rows, draft_token_ids]
    passed = ratios.clamp(max=1.0).cumprod(0) >= torch.rand(count, dtype=torch.float64).cumprod(0)
    kept = max((i + 1 for i in range(count) if bool(passed[i])), default=0)
    left = target_probs[-1]
    if kept < count:
        prefix = 1.0
        for ratio in ratios[:kept].tolist():
            prefix = min(prefix * ratio, 1.0)
        left = (prefix * target_probs[kept] - draft_probs[kept]).clamp(min=0)
        left = left if bool(left.any()) else target_probs[kept]
    return [*draft_token_ids[:kept].tolist(), int(torch.multinomial(left, 1))]


def token_by_token(
    draft_token_ids: torch.Tensor, draft_probs: torch.Tensor | None, target_probs: torch.Tensor
) -> Any:
    """Call the torch forms of recovery and acceptance that are its default."""
    return _verified(draft_token_ids, draft_probs, target_probs, is_block=False)


def block(draft_token_ids: torch.Tensor, draft_probs: torch.Tensor | None, target_probs: torch.Tensor) -> Any:
    """Call the torch forms of its opt-in block verification."""
    return _verified(draft_token_ids, draft_probs, target_probs, is_block=True)


def _verified(
    draft_token_ids: torch.Tensor,
    draft_probs: torch.Tensor | None,
    target_probs: torch.Tensor,
    *,
    is_block: bool,
) -> Any:
    from vllm_ascend.sample import rejection_sampler as theirs

    count, vocab = len(draft_token_ids), target_probs.shape[1]
    ends, drafts = torch.tensor([count]), draft_token_ids.to(torch.int64)
    target = target_probs[:count].to(torch.float32).contiguous()
    draft_probs = None if draft_probs is None else draft_probs.to(torch.float32)
    race = torch.empty(1, vocab, dtype=target.dtype)
    race.exponential_()
    recovered = torch.empty_like(drafts)
    recover = (
        theirs.sample_recovered_tokens_blockwise_pytorch
        if is_block
        else theirs.sample_recovered_tokens_pytorch
    )
    accept = (
        theirs.rejection_random_sample_block_verify_pytorch
        if is_block
        else theirs.rejection_random_sample_pytorch
    )
    is_lookup = draft_probs is None
    recover(recovered, ends, drafts, draft_probs, target, race, vocab, IS_NGRAM=is_lookup)
    emitted = torch.full((1, count + 1), -1, dtype=torch.int64)
    bonus = torch.multinomial(target_probs[-1], 1)
    coins, greedy = torch.rand(count, dtype=torch.float64), torch.tensor([False])
    accept(
        emitted,
        ends,
        drafts,
        draft_probs,
        target,
        bonus,
        recovered,
        coins,
        greedy,
        count,
        vocab,
        IS_NGRAM=is_lookup,
    )
    return emitted[0]
