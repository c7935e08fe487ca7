"""Attacks on the readers of checkpoints: configurations, headers of safetensors, files of tokenizers."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any, Final

from attack.fuzz import attempt
from attack.mutated import as_text, damaged, forged, odd
from attack.outcome import Outcome

SHIPPED: Final = Path(__file__).parent.parent / "workbench" / "checkpoints" / "tiny_pangu"
KEYS: Final = (
    "rope_scaling", "rope_parameters", "rope_theta", "head_dim", "num_key_value_heads", "hidden_act",
    "sliding_window", "layer_types", "tie_word_embeddings", "attention_bias", "eos_token_id",
    "eagle_config", "transformer_layer_config", "eagle_aux_hidden_state_layer_ids",
    "norm_before_residual", "draft_vocab_size", "max_window_layers", "model_type", "architectures",
    "partial_rotary_factor", "use_sliding_window", "quantization_config", "target_hidden_size",
)  # fmt: skip
ROPE: Final = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "mrope_section": [2, 3, 3],
}


@cache
def _text(name: str) -> bytes:
    return (SHIPPED / name).read_bytes()


@cache
def _teacher() -> Any:
    from workbench.checkpoints.teacher import teacher_config

    return teacher_config(json.loads(_text("teacher/config.json")))


def config(index: int, seed: int, folder: Path) -> Outcome:
    """Read the configuration of a teacher or a drafter."""
    del folder
    chance, outcome = random.Random(f"{seed} config {index}"), Outcome()
    role = chance.choice(("teacher", "drafter"))
    data = _text(f"{role}/config.json")
    if chance.random() < 0.2:
        changed = damaged(data, chance)
    else:
        value = {**json.loads(data), **{key: odd(chance) for key in chance.sample(KEYS, chance.randrange(4))}}
        if chance.random() < 0.3:
            value["rope_scaling"] = forged(ROPE, chance)
        if chance.random() < 0.2:
            value = {**value, "transformer_layer_config": value, "speculators_model_type": "eagle3"}
        changed = as_text(forged(value, chance))
    attempt(outcome, lambda: _read_config(role, changed), f"config of the {role}, case {index}")
    return outcome


def _read_config(role: str, data: bytes) -> None:
    import torch

    from workbench.checkpoints.eagle3 import load_drafter
    from workbench.checkpoints.json_text import parse_object
    from workbench.checkpoints.teacher import read_eos, teacher_config

    value = parse_object(data, "config.json")
    if role == "teacher":
        read_eos(value, value, None, teacher_config(value).vocab_size)
    else:
        load_drafter(value, {}, _teacher(), torch.empty(0, 0))


@cache
def _header() -> dict[str, Any]:
    data = _text("drafter/model.safetensors")
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


def safetensors(index: int, seed: int, folder: Path) -> Outcome:
    """Read the header of a safetensors file."""
    del folder
    chance, outcome = random.Random(f"{seed} safetensors {index}"), Outcome()
    size = len(_text("drafter/model.safetensors"))
    data = as_text(_header() if chance.random() < 0.3 else forged(_header(), chance))
    data = damaged(data, chance) if chance.random() < 0.5 else data
    start = (
        len(data).to_bytes(8, "little") if chance.random() < 0.8 else chance.randbytes(chance.randrange(9))
    )
    attempt(outcome, lambda: _read_header(start, data, size), f"header {index}")
    return outcome


def _read_header(start: bytes, data: bytes, size: int) -> None:
    from workbench.checkpoints.safetensors_header import check_header, header_length

    header_length(start, size, "model.safetensors")
    check_header(data, size, "model.safetensors")


@cache
def _tokenizer() -> dict[str, Any]:
    """Return the shipped tokenizer with some hundred tokens."""
    layout: dict[str, Any] = json.loads(_text("teacher/tokenizer.json"))
    vocabulary = dict(list(layout["model"]["vocab"].items())[:300])
    merges = [pair for pair in layout["model"]["merges"] if "".join(pair).replace(" ", "") in vocabulary]
    return {**layout, "model": {**layout["model"], "vocab": vocabulary, "merges": merges[:30]}}


def tokenizer(index: int, seed: int, folder: Path) -> Outcome:
    """Read the files of a tokenizer and, one in twenty times, build it."""
    chance, outcome = random.Random(f"{seed} tokenizer {index}"), Outcome()
    files = {
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": json.loads(_text("teacher/tokenizer_config.json")),
    }
    changed = chance.choice(list(files))
    for name, value in files.items():
        data = as_text(forged(value, chance) if name == changed else value)
        (folder / name).write_bytes(
            damaged(data, chance) if name == changed and chance.random() < 0.2 else data
        )
    is_built = chance.random() < 0.05
    attempt(outcome, lambda: _read_tokenizer(folder, is_built=is_built), f"tokenizer {index}")
    return outcome


def _read_tokenizer(folder: Path, *, is_built: bool) -> None:
    from workbench.checkpoints.tokenizer import load_tokenizer
    from workbench.checkpoints.tokenizer_files import read_tokenizer_files

    read_tokenizer_files(folder)
    if is_built:
        load_tokenizer(folder)
