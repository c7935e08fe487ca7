"""What a CPU build of vLLM is missing to be tried as on a device; called before the engine is imported."""

from __future__ import annotations

import os
from typing import Any, Final

EVERYWHERE: Final = "SPECWB_ENGINES_EVERYWHERE"
"""Variable that names a function of this module; every process of an engine calls it as it loads plugins."""


def everywhere() -> None:
    """Call what the variable names, in whatever process this is."""
    word = os.environ.get(EVERYWHERE, "")
    if word:
        globals()[word]()


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


def one_rank_records() -> None:
    """Hook the runner of the first rank alone; the other ranks run as if nothing were installed."""
    from engines.faults.planting import replace_method
    from workbench.adapters.vllm import runner_v1

    def make(original: Any) -> Any:
        def hooked(kind: type, worker: Any) -> None:
            from vllm.distributed import get_tensor_model_parallel_rank

            if get_tensor_model_parallel_rank() == 0:
                original(kind, worker)

        return hooked

    replace_method(runner_v1, "hook_runner", make)
    replace_method(runner_v1, "hook_sampling", make)
