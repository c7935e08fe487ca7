"""What a CPU build of vLLM is missing to be tried as on a device; called before the engine is imported."""

from __future__ import annotations

from typing import Any


def second_runner() -> None:
    """Let Triton's interpreter pass for a CPU backend, so that model runner V2 can be imported."""
    import importlib

    class Driver:
        @staticmethod
        def is_active() -> bool:
            return True

    class Backend:
        driver = Driver
        compiler = None

    importlib.import_module("triton.backends").backends["cpu"] = Backend


def asynchronous() -> None:
    """Switch asynchronous scheduling on, which the CPU platform switches off."""
    from vllm.platforms.cpu import CpuPlatform

    original = CpuPlatform.check_and_update_config.__func__

    def checked(cls: type, vllm_config: Any) -> None:
        original(cls, vllm_config)
        vllm_config.scheduler_config.async_scheduling = True

    CpuPlatform.check_and_update_config = classmethod(checked)


def expanded_in_place() -> None:
    """Give every row of a request its own sampling values, which the CPU kernel writes to a lost copy."""
    import torch
    from vllm.v1.sample import rejection_sampler

    def expanded(
        values: torch.Tensor, ends: torch.Tensor, num_tokens: int, replace_from: int = 0, replace_to: int = 0
    ) -> torch.Tensor:
        counts = torch.diff(ends, prepend=ends.new_zeros(1))
        return torch.where(values == replace_from, replace_to, values).repeat_interleave(
            counts, output_size=num_tokens
        )

    rejection_sampler.expand_batch_to_tokens = expanded
