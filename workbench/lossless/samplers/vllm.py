"""The rejection sampler of vLLM as verify functions, to be run in vLLM's own environment.

`specwb lossless workbench.lossless.samplers.vllm:sampled --numbers float32`. On a CPU build without Triton
its kernels are the compiled ones that such a build registers in their place.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch


def sampled(
    draft_token_ids: torch.Tensor, draft_probs: torch.Tensor | None, target_probs: torch.Tensor
) -> Any:
    """Call `rejection_sample` at temperature 1, with draft probabilities; torch draws the bonus token."""
    return _rejection_sampled(draft_token_ids, draft_probs, target_probs, temperature=1.0)


def without_draft_probs(draft_token_ids: torch.Tensor, target_probs: torch.Tensor) -> Any:
    """Call `rejection_sample` at temperature 1 as for a drafter without probabilities, such as a lookup."""
    return _rejection_sampled(draft_token_ids, None, target_probs, temperature=1.0)


def greedy(draft_token_ids: torch.Tensor, target_probs: torch.Tensor) -> Any:
    """Call `rejection_sample` at temperature 0."""
    return _rejection_sampled(draft_token_ids, None, target_probs, temperature=0.0)


def whole(draft_token_ids: torch.Tensor, draft_probs: torch.Tensor | None, target_probs: torch.Tensor) -> Any:
    """Call `RejectionSampler.forward` at temperature 1: warping, bonus token and kernels of this build."""
    from vllm.v1.sample.rejection_sampler import RejectionSampler
    from vllm.v1.sample.sampler import Sampler
    from vllm.v1.spec_decode.metadata import SpecDecodeMetadata

    count = len(draft_token_ids)
    sampling = _settings(1.0)
    metadata = SpecDecodeMetadata(
        draft_token_ids=draft_token_ids.to(torch.int32),
        num_draft_tokens=[count],
        cu_num_draft_tokens=torch.tensor([count], dtype=torch.int32),
        cu_num_sampled_tokens=torch.tensor([count + 1], dtype=torch.int32),
        target_logits_indices=torch.arange(count),
        bonus_logits_indices=torch.tensor([count]),
        logits_indices=torch.arange(count + 1),
    )
    probs = None if draft_probs is None else draft_probs.to(torch.float32).contiguous()
    logits = target_probs.log().to(torch.float32)
    return RejectionSampler(Sampler())(metadata, probs, logits, sampling).sampled_token_ids[0]


def _rejection_sampled(
    draft_token_ids: torch.Tensor,
    draft_probs: torch.Tensor | None,
    target_probs: torch.Tensor,
    *,
    temperature: float,
) -> Any:
    sampling = _settings(temperature)
    from vllm.v1.sample.rejection_sampler import rejection_sample

    count = len(draft_token_ids)
    bonus = torch.multinomial(target_probs[-1], 1) if temperature else target_probs[-1:].argmax(-1)
    return rejection_sample(
        draft_token_ids.to(torch.int32),
        [count],
        count,
        torch.tensor([count], dtype=torch.int32),
        None if draft_probs is None else draft_probs.to(torch.float32).contiguous(),
        target_probs[:count].log().to(torch.float32).contiguous(),
        bonus.to(torch.int32).reshape(1, 1),
        sampling,
    )[0]


@cache
def _settings(temperature: float) -> Any:
    """Import vLLM once, with the kernels that its CPU platform has, and return settings of one request."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        current_platform.import_kernels()
        current_platform.register_triton_kernel_overrides()
    from vllm.v1.sample.logits_processor import LogitsProcessors
    from vllm.v1.sample.metadata import SamplingMetadata

    nothing = torch.empty(0)
    return SamplingMetadata(
        temperature=torch.tensor([temperature]),
        all_greedy=temperature == 0,
        all_random=temperature != 0,
        top_p=None,
        top_k=None,
        generators={},
        max_num_logprobs=None,
        no_penalties=True,
        prompt_token_ids=None,
        frequency_penalties=nothing,
        presence_penalties=nothing,
        repetition_penalties=nothing,
        output_token_ids=[[]],
        allowed_token_ids_mask=None,
        bad_words_token_ids={},
        logitsprocs=LogitsProcessors(),
    )
