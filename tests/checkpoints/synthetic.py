"""Tiny checkpoints on disk, written by transformers and by hand, one for each layout."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

V, H, INNER, N, HEADS, KV, D, VD = 300, 16, 24, 8, 4, 2, 4, 40


@cache
def tokenizer_json() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the words of the text and the end of the words"] * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair=None, special_tokens=[("<s>", 1)]
    )
    return tokenizer.to_str()


def write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")


def edit_json(path: Path, **changes: Any) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        if value is ...:
            data.pop(key, None)
        else:
            data[key] = value
    write_json(path, data)


def edit_weights(directory: Path, **changes: Any) -> None:
    from safetensors.torch import load_file

    path = directory / "model.safetensors"
    weights = load_file(path)
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is ...:
            weights.pop(key)
        elif callable(value):
            weights[key] = value(weights[key]).contiguous()
        else:
            weights[key] = value
    save_file(weights, path, metadata={"format": "pt"})


def write_tokenizer(directory: Path, **config: Any) -> None:
    (directory / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    defaults = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    write_json(directory / "tokenizer_config.json", defaults | config)


def hf_teacher(directory: Path, kind: str = "llama", **changes: Any) -> Any:
    """Save a random teacher with transformers itself; returns the model."""
    import transformers

    torch.manual_seed(3)
    prefix = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "mistral": "Mistral"}[kind]
    settings = {
        "vocab_size": V, "hidden_size": H, "intermediate_size": INNER, "num_hidden_layers": N,
        "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": D,
        "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None,
    }  # fmt: skip
    config = getattr(transformers, f"{prefix}Config")(**(settings | changes))
    model = getattr(transformers, f"{prefix}ForCausalLM")(config).eval()
    for parameter in model.parameters():  # transformers starts biases at 0: a lost bias would not show
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(directory)
    write_tokenizer(directory)
    return model


def pangu_teacher(directory: Path, **changes: Any) -> Any:
    """The same block under openPangu's configuration keys; returns the Llama model it equals."""
    model = hf_teacher(directory, "llama", attention_bias=True, **changes)
    config = {
        "architectures": ["PanguEmbeddedForCausalLM"], "model_type": "PanguEmbedded", "bias": True,
        "auto_map": {"AutoConfig": "configuration_openpangu_dense.PanguEmbeddedConfig"},
        "vocab_size": V, "hidden_size": H, "intermediate_size": INNER, "num_hidden_layers": N,
        "num_attention_heads": HEADS, "num_key_value_heads": KV, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 16000000.0, "tie_word_embeddings": False, "eos_token_id": 2,
    }  # fmt: skip
    write_json(directory / "config.json", config)
    edit_weights(directory, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(D // 2))
    return model


def kept_ids() -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randperm(V, generator=generator)[:VD].sort().values


def drafter_tensors(
    prefix: str = "midlayer.", *, bias: bool = False, qk_norm: bool = False
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(11)

    def new(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.1

    rows = {"q": HEADS * D, "k": KV * D, "v": KV * D}
    tensors = {"fc.weight": new(H, 3 * H), "norm.weight": new(H), "lm_head.weight": new(VD, H)}
    for name in ("hidden_norm", "input_layernorm", "post_attention_layernorm"):
        tensors[f"{prefix}{name}.weight"] = new(H)
    for name, num_rows in rows.items():
        tensors[f"{prefix}self_attn.{name}_proj.weight"] = new(num_rows, 2 * H)
    tensors[f"{prefix}self_attn.o_proj.weight"] = new(H, HEADS * D)
    for name, shape in {"gate": (INNER, H), "up": (INNER, H), "down": (H, INNER)}.items():
        tensors[f"{prefix}mlp.{name}_proj.weight"] = new(*shape)
    if bias:
        tensors |= {f"{prefix}self_attn.{name}_proj.bias": new(count) for name, count in rows.items()}
        tensors[f"{prefix}self_attn.o_proj.bias"] = new(H)
    if qk_norm:
        tensors |= {f"{prefix}self_attn.{name}_norm.weight": new(D) for name in "qk"}
    kept = kept_ids()
    tensors["d2t"] = kept - torch.arange(VD)
    tensors["t2d"] = torch.zeros(V, dtype=torch.bool).index_fill(0, kept, value=True)
    return tensors


def block_config(**changes: Any) -> dict[str, Any]:
    return {
        "model_type": "llama", "vocab_size": V, "hidden_size": H, "intermediate_size": INNER,
        "num_hidden_layers": 1, "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": D,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    } | changes  # fmt: skip


def write_drafter(directory: Path, config: dict[str, Any], tensors: dict[str, Any]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "config.json", config)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def official(directory: Path, **changes: Any) -> Path:
    named = {"draft_vocab_size": VD, "eagle_aux_hidden_state_layer_ids": [2, N // 2, N - 3]}
    return write_drafter(directory, block_config(**(named | changes)), drafter_tensors())


def specforge(directory: Path, *, ids: Any = (1, N // 2 - 1, N - 4), **changes: Any) -> Path:
    eagle = {} if ids is None else {"eagle_config": {"eagle_aux_hidden_state_layer_ids": ids}}
    config = block_config(architectures=["LlamaForCausalLMEagle3"], draft_vocab_size=VD, **eagle)
    return write_drafter(directory, config | changes, drafter_tensors())


def speculators(directory: Path, *, inner: dict[str, Any] | None = None, **changes: Any) -> Path:
    config = {
        "speculators_model_type": "eagle3", "architectures": ["Eagle3Speculator"],
        "transformer_layer_config": block_config() | (inner or {}), "draft_vocab_size": VD,
        "norm_before_residual": True, "target_hidden_size": None,
        "eagle_aux_hidden_state_layer_ids": None,
    }  # fmt: skip
    qk_norm = (inner or {}).get("model_type") == "qwen3"
    return write_drafter(directory, config | changes, drafter_tensors("layers.0.", qk_norm=qk_norm))
