"""What is known of `transformers` and of a model before anything is recorded."""

from __future__ import annotations

from typing import Any, Final

PROPOSERS: Final = {
    "PromptLookupCandidateGenerator": "lookup",
    "AssistedCandidateGenerator": "draft_model",
    "AssistedCandidateGeneratorDifferentTokenizers": "draft_model",
    "UniversalSpeculativeDecodingGenerator": "draft_model",
    "EarlyExitCandidateGenerator": "early_exit",
    "MTPCandidateGenerator": "mtp",
    "SinglePositionMultiTokenCandidateGenerator": "single_position",
    "DFlashTokenCandidateGenerator": "dflash",
}
"""Generator of candidates, as `transformers` names its class, to our name of who drafts."""
FACTORY_ARGUMENTS: Final = frozenset({"generation_config", "input_ids", "logits_processor"})
"""Arguments that are read of the call that makes a generator."""
CHUNKED: Final = "chunked_attention"


def proposer_of(generator: Any) -> str:
    """Return who drafts; a generator that is not known has the name of its class."""
    return PROPOSERS.get(type(generator).__name__, type(generator).__name__)


def describe(model: Any, *, with_digest: bool = False) -> dict[str, Any]:
    """Return what the manifest states of engine and model; the limits of a call are added by the call."""
    import transformers

    config = model.config.get_text_config()
    facts: dict[str, Any] = {
        "first_root": "prompt",
        "engine": f"transformers {transformers.__version__}",
        "models": {"teacher": str(model.config._name_or_path or type(model).__name__)},  # noqa: SLF001
        "limits": {
            "vocab_size": int(config.vocab_size),
            "max_positions": int(config.max_position_embeddings),
        },
    }
    windows = model_windows(config)
    if any(windows):
        chunked = [layer for layer, kind in enumerate(_kinds(config)) if kind == CHUNKED]
        facts["model_facts"] = {"windows": windows, "chunked_layers": chunked, "shown_layer": 0}
    if with_digest:
        from workbench.checkpoints.digests import weights_digest

        facts["models"]["digests"] = {"teacher_weights": weights_digest(model.state_dict())}
    return facts


def model_windows(config: Any) -> list[int]:
    """Return the attention window of each layer in tokens, 0 where it sees all, of a text configuration."""
    window = int(getattr(config, "sliding_window", None) or 0)
    if getattr(config, "use_sliding_window", True) is False:
        window = 0
    kinds = _kinds(config)
    if not kinds:
        return [window] * int(config.num_hidden_layers)
    chunk = int(getattr(config, "attention_chunk_size", None) or 0)
    return [{"sliding_attention": window, CHUNKED: chunk}.get(kind, 0) for kind in kinds]


def first_window(model: Any) -> int:
    """Return the window of the layer that is looked at."""
    return next(iter(model_windows(model.config.get_text_config())), 0)


def _kinds(config: Any) -> list[str]:
    return list(getattr(config, "layer_types", None) or [])
