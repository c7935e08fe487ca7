"""What the manifest says of an engine: versions, limits, models, groups of its cache."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from tracing.run_facts import HostLength, KvGroup, ModelFacts
from workbench.adapters.vllm.worker import WorkerRecorder

PROPOSERS: Final = {"ngram": "lookup", "ngram_gpu": "lookup"}
"""Words of vLLM for a proposer that has another here."""

HOST_LENGTHS: Final[dict[str, HostLength]] = {
    **dict.fromkeys(("AscendMLA", "AscendSFA", "AscendDSA"), "bound"),
    "Ascend": "exact",
    "": "bound",
}
"""Who reads the host's lengths as recorded, by kernel; for all others they are an upper bound.

Latent and sparse attention on Ascend are given lists of their own, which are not recorded.
"""
NOT_SPLIT: Final = (
    "pipeline_parallel_size", "decode_context_parallel_size", "prefill_context_parallel_size",
)  # fmt: skip
"""Sizes that have to be 1."""


def begin(worker: WorkerRecorder, runner: Any) -> None:
    """Open the file of a worker.

    Raises:
        NotImplementedError: Its model is split over pipeline stages or contexts.
    """
    parallel = runner.vllm_config.parallel_config
    for name in NOT_SPLIT:
        size = int(getattr(parallel, name, 1))
        if size > 1:
            raise NotImplementedError(f"an engine with {name} {size} is not recorded")
    worker.begin(manifest_of(runner), ranks_of(runner), proposer_of(runner))


def manifest_of(runner: Any) -> dict[str, Any]:
    """Return the facts of the engine that a runner belongs to."""
    import vllm

    model, cache, spec = runner.model_config, runner.vllm_config.cache_config, runner.speculative_config
    drafts = 0 if spec is None else int(spec.num_speculative_tokens)
    eos = model.hf_config.eos_token_id
    block_size = int(cache.block_size)
    draft_model = getattr(getattr(spec, "draft_model_config", None), "model", None)
    return {
        "engine": f"vllm {vllm.__version__} {type(runner).__module__}.{type(runner).__name__}",
        "limits": {
            "vocab_size": int(model.get_vocab_size()),
            "max_positions": int(model.max_model_len),
            "eos_token_ids": sorted({eos} if isinstance(eos, int) else set(eos or ())),
            "num_slots": int(runner.kv_cache_config.num_blocks) * block_size,
            "block_size": block_size,
            "max_tree_nodes": 1 + drafts,
            "max_tree_depth": drafts,
        },
        "models": {"teacher": str(model.model), "drafter": None if draft_model is None else str(draft_model)},
        "model_facts": asdict(ModelFacts(kv_groups=tuple(_groups(runner)), host_lengths=HOST_LENGTHS)),
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def _groups(runner: Any) -> list[KvGroup]:
    numbers: dict[str, int] = {}
    for group in runner.kv_cache_config.kv_cache_groups:
        for name in group.layer_names:
            numbers[name] = len(numbers)
    tables = getattr(getattr(runner, "input_batch", None), "block_table", None)
    found = []
    for index, group in enumerate(runner.kv_cache_config.kv_cache_groups):
        spec = group.kv_cache_spec
        size = int(spec.block_size)
        kernel = size if tables is None else int(tables.block_tables[index].block_size)
        window = getattr(spec, "sliding_window", None) or 0
        found.append(
            KvGroup(
                layers=tuple(numbers[name] for name in group.layer_names),
                kind="sliding_window" if window else "full",
                window=int(window),
                manager_block_size=size,
                kernel_block_size=kernel,
                null_block=0,
            )
        )
    return found


def proposer_of(runner: Any) -> str | None:
    """Return who drafts, in the trace's word; None where nobody does."""
    spec = runner.speculative_config
    return None if spec is None else PROPOSERS.get(spec.method, str(spec.method))


def ranks_of(runner: Any) -> dict[str, int]:
    """Return the ranks of this process, as columns of every row."""
    from vllm.distributed import get_tensor_model_parallel_rank

    parallel = runner.vllm_config.parallel_config
    return {
        "dp_rank": int(parallel.data_parallel_rank),
        "tp_rank": int(get_tensor_model_parallel_rank()),
        "pp_rank": 0,
        "cp_rank": 0,
    }
