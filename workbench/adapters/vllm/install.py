"""Finds the engine's classes, compares their methods with what the hooks expect, and hooks them."""

from __future__ import annotations

import importlib
import logging
from typing import Any, Final

from workbench.adapters.vllm import runner_v1, runner_v2
from workbench.adapters.vllm.core import CoreRecorder
from workbench.adapters.vllm.patches import parameters_of
from workbench.adapters.vllm.scheduler import hook_scheduler
from workbench.adapters.vllm.settings import RecorderSettings
from workbench.adapters.vllm.worker import WorkerRecorder

Signatures = dict[str, tuple[str, ...]]
SCHEDULER: Final[tuple[str, str, Signatures]] = (
    "vllm.v1.core.sched.scheduler",
    "Scheduler",
    {
        "schedule": ("self", "throttle_prefills"),
        "_preempt_request": ("self", "request", "timestamp", "drop_stale_output"),
        "update_from_output": ("self", "scheduler_output", "model_runner_output"),
    },
)
RUNNER_V1: Final[tuple[str, str, Signatures]] = (
    "vllm.v1.worker.gpu_model_runner",
    "GPUModelRunner",
    {
        "execute_model": ("self", "scheduler_output", "intermediate_tensors"),
        "sample_tokens": ("self", "grammar_output"),
        "_model_forward": (
            "self", "input_ids", "positions", "intermediate_tensors", "inputs_embeds", "model_kwargs",
        ),
        "_sample": ("self", "logits", "spec_decode_metadata"),
        "propose_draft_token_ids": (
            "self", "scheduler_output", "sampled_token_ids", "sampling_metadata", "hidden_states",
            "sample_hidden_states", "aux_hidden_states", "spec_decode_metadata", "common_attn_metadata",
            "slot_mappings",
        ),
    },
)  # fmt: skip
RUNNER_V2: Final[tuple[str, str, Signatures]] = (
    "vllm.v1.worker.gpu.model_runner",
    "GPUModelRunner",
    {
        "execute_model": (
            "self", "scheduler_output", "intermediate_tensors", "dummy_run", "skip_attn_for_dummy_run",
            "is_profile", "context_len", "valid_dummy_state_slots", "randomize_inputs",
        ),
        "prepare_attn": ("self", "input_batch"),
        "sample": ("self", "hidden_states", "input_batch", "grammar_output"),
    },
)  # fmt: skip
SAMPLERS_V2: Final = (
    ("vllm.v1.worker.gpu.sample.sampler", "Sampler"),
    ("vllm.v1.worker.gpu.spec_decode.rejection_sampler", "RejectionSampler"),
)
VERSIONS: Final = ("0.32.0",)
"""Versions of vLLM whose hooks have been seen to work."""

_log = logging.getLogger("specwb.vllm")


class UnsupportedEngineError(Exception):
    """The engine's methods are not those that the hooks know; the message names the first difference."""


def install(settings: RecorderSettings) -> None:
    """Hook the engine of this process.

    Raises:
        UnsupportedEngineError: A method has other parameters than the hooks expect.
    """
    core, worker = CoreRecorder(settings), WorkerRecorder(settings)
    scheduler = checked(*SCHEDULER)
    first = checked(*RUNNER_V1)
    second = _second_runner()
    hook_scheduler(scheduler, core)
    _hook_when_made(first, worker)
    if second is not None:
        runner_v2.hook_runner(second, worker)
        for module, name in SAMPLERS_V2:
            runner_v2.hook_sampler(getattr(importlib.import_module(module), name), worker)


def checked(module: str, name: str, signatures: Signatures) -> type:
    """Return a class of the engine after comparing its methods with what the hooks expect.

    Raises:
        UnsupportedEngineError: One differs.
    """
    kind: type = getattr(importlib.import_module(module), name)
    for method, expected in signatures.items():
        found = parameters_of(kind, method)
        if found != expected:
            import vllm

            raise UnsupportedEngineError(
                f"vllm {vllm.__version__}: {name}.{method} should take ({', '.join(expected)}), "
                f"it takes {'nothing: it is not there' if found is None else '(' + ', '.join(found) + ')'}; "
                f"known versions: {', '.join(VERSIONS)}"
            )
    return kind


def _second_runner() -> type | None:
    try:
        return checked(*RUNNER_V2)
    except ImportError as problem:  # it needs Triton
        _log.info("the second runner cannot be imported here: %s", problem)
        return None


def _hook_when_made(kind: type, worker: WorkerRecorder) -> None:
    """Hook the class of each runner as it is made: engines for other devices override these methods."""
    from workbench.adapters.vllm.patches import wrap

    def after_init(runner: Any, *_: Any) -> None:
        runner_v1.hook_runner(type(runner), worker)
        runner_v1.hook_sampling(type(runner), worker)

    wrap(kind, "__init__", after=after_init)
