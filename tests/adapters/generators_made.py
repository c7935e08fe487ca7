"""Random models for every generator of candidates that `transformers` has."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from tests.checkpoints import synthetic

SIZES: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 4, "max_position_embeddings": 256,
}  # fmt: skip


def assistant(model: Any) -> Any:
    """The model itself as its assistant, so that drafts are accepted."""
    made = copy.deepcopy(model)
    made.generation_config.assistant_confidence_threshold = 0.0
    made.generation_config.num_assistant_tokens = 4
    return made


def two_tokenizers(folder: Path) -> dict[str, Any]:
    """Tokenizers of one alphabet and other merges."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    other = Tokenizer(models.BPE())
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    other.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    other.train_from_iterator(["other pieces, in another order"] * 4, trainer)
    return {
        "tokenizer": transformers.AutoTokenizer.from_pretrained(folder),
        "assistant_tokenizer": transformers.PreTrainedTokenizerFast(
            tokenizer_object=other, bos_token="<s>", eos_token="</s>"
        ),
    }


def mtp_layers(model: Any, monkeypatch: Any) -> None:
    """Give a model two random layers for multi-token prediction, which no checkpoint of its kind has."""
    import transformers.modeling_layers as library

    def made(cls: Any, main_model: Any, **_: Any) -> Any:
        return cls(main_model, main_model.config.num_mtp_layers)

    model.config.num_mtp_layers = 2
    monkeypatch.setattr(library.MtpModel, "from_pretrained", classmethod(made))


def dflash_drafter() -> Any:
    from transformers.models.muse_glimmer_assistant import MuseGlimmerAssistantConfig
    from transformers.models.muse_glimmer_assistant.modeling_muse_glimmer_assistant import (
        MuseGlimmerAssistantModel,
    )

    torch.manual_seed(5)
    more = {"num_hidden_layers": 1, "block_size": 4, "mask_token_id": 3, "target_layer_ids": [0, 1]}
    return MuseGlimmerAssistantModel(MuseGlimmerAssistantConfig(**SIZES, **more)).eval()


def gemma() -> Any:
    """A teacher of the only kind that lends its rows to an assistant; half of its layers have a window."""
    from transformers.models.gemma4.configuration_gemma4 import Gemma4TextConfig
    from transformers.models.gemma4.modeling_gemma4 import Gemma4ForCausalLM

    torch.manual_seed(4)
    kinds = ["sliding_attention", "full_attention"]
    lean = {"global_head_dim": 4, "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
    ends = {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 1}
    config = Gemma4TextConfig(
        **SIZES,
        **lean,
        **ends,
        vocab_size=synthetic.V,
        num_hidden_layers=2,
        layer_types=kinds,
        sliding_window=6,
    )
    model = Gemma4ForCausalLM(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


class Gemma4AssistantForCausalLM(nn.Module):
    """Stands for the library's own, which its installed release cannot build from a configuration."""

    def __init__(self, teacher: Any) -> None:
        super().__init__()
        self.generation_config = SimpleNamespace(num_assistant_tokens=3)
        self.head = nn.Linear(2 * SIZES["hidden_size"], synthetic.V, bias=False)
        self.device, self.config = teacher.device, teacher.config

    def forward(self, inputs_embeds: Any, **_: Any) -> Any:
        return SimpleNamespace(
            logits=self.head(inputs_embeds), last_hidden_state=inputs_embeds[..., SIZES["hidden_size"] :]
        )
