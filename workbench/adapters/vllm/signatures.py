"""Parameters of the engine's methods that are hooked, per package and version, as they were read there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Signatures = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class HookedClass:
    """A class of an engine and its hooked methods.

    Attributes:
        module, name: Where it is.
        methods: Parameters by method, `self` first.
    """

    module: str
    name: str
    methods: Signatures


@dataclass(frozen=True, slots=True)
class KnownEngine:
    """A version of an engine whose hooks are known.

    Attributes:
        package, version: As installed.
        on: The vLLM that it runs in, of another package; or empty.
        classes: Hooked ones: scheduler, engine core, front end, first runner, and one more runner.
        evidence: What has been seen of it, for `doctor`.
        is_proven: A real engine of this version has been recorded without a finding.
    """

    package: str
    version: str
    on: str
    classes: tuple[HookedClass, ...]
    evidence: str
    is_proven: bool


SCHEDULER: Final = HookedClass(
    "vllm.v1.core.sched.scheduler",
    "Scheduler",
    {
        "schedule": ("self", "throttle_prefills"),
        "_preempt_request": ("self", "request", "timestamp", "drop_stale_output"),
        "update_from_output": ("self", "scheduler_output", "model_runner_output"),
    },
)
SCHEDULER_OF_0_23: Final = HookedClass(
    SCHEDULER.module,
    SCHEDULER.name,
    {**SCHEDULER.methods, "schedule": ("self",), "_preempt_request": ("self", "request", "timestamp")},
)
ENGINE_CORE: Final = HookedClass("vllm.v1.engine.core", "EngineCore", {"shutdown": ("self",)})
FRONT_END: Final = HookedClass("vllm.v1.engine.core_client", "MPClient", {"shutdown": ("self", "timeout")})
RUNNER_V1: Final = HookedClass(
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
RUNNER_V2: Final = HookedClass(
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
ASCEND_RUNNER: Final = HookedClass(
    "vllm_ascend.worker.model_runner_v1",
    "NPUModelRunner",
    {
        "execute_model": ("self", "scheduler_output", "intermediate_tensors"),
        "sample_tokens": ("self", "grammar_output"),
        "_model_forward": (
            "self", "num_tokens_padded", "input_ids", "positions", "intermediate_tensors", "inputs_embeds",
            "model_kwargs",
        ),
        "_sample": ("self", "logits", "spec_decode_metadata"),
        "propose_draft_token_ids": (
            "self", "valid_sampled_token_ids", "sampling_metadata", "scheduler_output",
            "spec_decode_metadata", "spec_decode_common_attn_metadata", "positions", "num_scheduled_tokens",
            "hidden_states", "aux_hidden_states", "sample_hidden_states", "target_model_batch_desc",
        ),
    },
)  # fmt: skip
KNOWN: Final = (
    KnownEngine(
        "vllm", "0.32.0", "", (SCHEDULER, ENGINE_CORE, FRONT_END, RUNNER_V1, RUNNER_V2),
        "recorded on its CPU build, runner V1 and V2 (Triton's interpreter); a device has not been tried",
        is_proven=True,
    ),
    KnownEngine(
        "vllm-ascend", "0.23.0", "0.23.0",
        (SCHEDULER_OF_0_23, ENGINE_CORE, FRONT_END, RUNNER_V1, ASCEND_RUNNER),
        "signatures compared with the sources of both (vllm-ascend's tag v0.23.0) on 2026-11-29; hooks run "
        "on fakes with these signatures; no device and no graph has been tried; its own schedulers (balance, "
        "dynamic batch, profiling chunks, recompute) plan without vLLM's schedule and are not recorded",
        is_proven=False,
    ),
)  # fmt: skip
"""All versions that are known; others are compared method by method with the nearest."""


def known_engine(package: str, version: str) -> KnownEngine | None:
    """Return what is known of a version; local parts as in `0.32.0+cpu` do not count."""
    plain = version.partition("+")[0]
    return next((each for each in KNOWN if (each.package, each.version) == (package, plain)), None)
