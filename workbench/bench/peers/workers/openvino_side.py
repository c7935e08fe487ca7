"""OpenVINO GenAI on a CPU: greedy, prompt lookup, EAGLE-3 chain and tree; the pair is exported once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from workbench.bench.peers.workers.wire import Opened

PACKAGES: Final = ("openvino", "openvino-genai", "optimum-intel")

TREE = {"num_assistant_tokens": 12, "tree_depth": 4, "branching_factor": 4}
DRAFT_CLASSES = ("LlamaEagle3Model", "LlamaEagle3ForCausalLM")
DYNAMIC = "transformers_modules.eagle3_drafter"


def open_engine(asked: Mapping[str, Any]) -> Opened:
    """Export what is not there yet, and open a pipeline."""
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    exported = Path(asked["exported"])
    teacher = _exported(asked["teacher"], exported / "teacher", asked)
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1
    scheduler.enable_prefix_caching = False
    # OpenVINO takes precisions by its own names: it computes, and keeps the cache, in float32.
    precise = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    plain = {**precise, "INFERENCE_NUM_THREADS": asked["threads"]}
    options: dict[str, Any] = {"scheduler_config": scheduler, **plain}
    drafts: dict[str, int] = {}
    if asked["mode"] in {"chain", "tree"}:
        drafter = _exported(asked["drafter"], exported / "drafter", asked)
        options["draft_model"] = genai.draft_model(drafter, "CPU", **plain)
        drafts = TREE if asked["mode"] == "tree" else {"num_assistant_tokens": asked["num_drafts"]}
    elif asked["mode"] == "lookup":
        options["prompt_lookup"] = True
        drafts = {"num_assistant_tokens": asked["num_drafts"], "max_ngram_size": 3}
    pipeline = genai.LLMPipeline(teacher, "CPU", **options)
    config = genai.GenerationConfig()
    config.do_sample = False
    config.apply_chat_template = False
    if asked["eos_token_ids"]:
        config.set_eos_token_id(asked["eos_token_ids"][0])
        config.stop_token_ids = set(asked["eos_token_ids"])
    for name, value in drafts.items():
        setattr(config, name, value)

    def generate(prompt: Sequence[int], max_new_tokens: int) -> list[int]:
        config.max_new_tokens = max_new_tokens
        ids = np.array([list(prompt)], dtype=np.int64)
        given = genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))
        return list(pipeline.generate(given, config).tokens[0])

    settings = {
        "dtype": "float32",
        "stored": asked["stored"],
        "threads": asked["threads"],
        **precise,
        **drafts,
    }
    return generate, settings


def _exported(source: str, target: Path, asked: Mapping[str, Any]) -> str:
    """Return the folder of an exported checkpoint, exporting it if it is not there."""
    if (target / "openvino_model.xml").exists():
        return str(target)
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig

    weights = {"ov_config": OVConfig(dtype="fp16" if asked["stored"] == "float16" else "fp32")}
    if target.name == "drafter":
        _register_drafter()
    main_export(
        source,
        target,
        task="text-generation-with-past",
        trust_remote_code=target.name == "drafter",
        **weights,
    )
    return str(target)


def _register_drafter() -> None:
    """Let the exporter take its own class of EAGLE-3 drafters without a copy of its file as remote code."""
    from optimum.exporters.openvino import model_patcher
    from transformers.models.auto import auto_factory as factory

    sys.modules[DYNAMIC] = model_patcher
    for name in DRAFT_CLASSES:
        getattr(model_patcher, name).__module__ = DYNAMIC  # the exporter tells libraries apart by this name

    def own(reference: str, *_: Any, **__: Any) -> Any:
        return getattr(model_patcher, reference.rpartition(".")[2])

    auto_factory: Any = factory
    auto_factory.get_class_from_dynamic_module = own
