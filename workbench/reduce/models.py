"""A cut pair in a folder: safetensors and one JSON file, read back without a checkpoint's loader."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file

from reference.rope import inverse_frequencies
from tracing.errors import UsageError
from tracing.models import (
    DrafterConfig,
    Experts,
    MedusaConfig,
    ModelPair,
    Quantisation,
    RopeConfig,
    TeacherConfig,
)
from workbench.reduce.kept import read_object

FOLDER: Final = "models"
CONFIG: Final = "config.json"
TEACHER: Final = "teacher.safetensors"
DRAFTER: Final = "drafter.safetensors"
MAP: Final = "target_from_draft"
KINDS: Final[Mapping[str, Any]] = {
    each.__name__: each for each in (TeacherConfig, DrafterConfig, MedusaConfig)
}


def write_pair(folder: Path, pair: ModelPair, token_bytes: Callable[[int], bytes], needed: set[int]) -> None:
    """Write a pair below a folder.

    Args:
        folder: Of the reduced case.
        pair: What is left.
        token_bytes: Bytes of a token id of this pair.
        needed: Token ids whose text is written along.
    """
    own = folder / FOLDER
    own.mkdir(parents=True, exist_ok=True)
    maps = {} if pair.target_from_draft is None else {MAP: torch.as_tensor(pair.target_from_draft)}
    _save(own / TEACHER, pair.teacher_weights)
    if pair.drafter_weights or maps:
        _save(own / DRAFTER, {**pair.drafter_weights, **maps})
    config = {
        "proposer": pair.proposer,
        "eos_token_ids": sorted(pair.eos_token_ids),
        "teacher": _told(pair.teacher),
        "drafter": None if pair.drafter is None else _told(pair.drafter),
        "texts": {
            str(token): token_bytes(token).decode("utf-8", "backslashreplace") for token in sorted(needed)
        },
    }
    (own / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")


def _save(file: Path, tensors: Mapping[str, Any]) -> None:
    plain = {
        name: torch.as_tensor(each).detach().cpu().contiguous().clone() for name, each in tensors.items()
    }
    save_file(plain, file)


def _told(config: Any) -> dict[str, Any]:
    """Return a configuration as plain data, with the frequencies of its rotary embedding as numbers."""
    told: dict[str, Any] = {"kind": type(config).__name__, **asdict(config)}
    if hasattr(config, "rope"):
        most = config.max_position_embeddings
        turns, gain = inverse_frequencies(config.rope, config.head_dim, most, torch.float64)
        told |= {"rope_frequencies": turns.tolist(), "rope_gain": gain}
    if isinstance(config, TeacherConfig):
        told["windows"] = list(config.windows)
    return told


def read_pair(folder: str) -> tuple[ModelPair, Callable[[int], bytes]]:
    """Return the pair that `write_pair` wrote, and the bytes of its token ids.

    Raises:
        UsageError: The folder holds no such pair.
    """
    own = Path(folder) / FOLDER
    config = read_object(own / CONFIG)
    try:
        drafts = load_file(own / DRAFTER) if (own / DRAFTER).exists() else {}
        pair = ModelPair(
            teacher=_config(config["teacher"]),
            teacher_weights=load_file(own / TEACHER),
            drafter=None if config["drafter"] is None else _config(config["drafter"]),
            drafter_weights={name: each for name, each in drafts.items() if name != MAP},
            target_from_draft=drafts.get(MAP),
            eos_token_ids=frozenset(config["eos_token_ids"]),
            proposer=config["proposer"],
        )
        texts = {int(token): str(text).encode() for token, text in config["texts"].items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as problem:
        raise UsageError(f"{own} should hold the models of a reduced case: {problem}") from None
    return pair, lambda token: texts.get(token, f"<{token}>".encode())


def _config(told: Mapping[str, Any]) -> Any:
    kind = KINDS[told["kind"]]
    held = {each.name: told[each.name] for each in fields(kind)}
    held = {name: tuple(value) if isinstance(value, list) else value for name, value in held.items()}
    for name, part in (("rope", RopeConfig), ("quantisation", Quantisation), ("experts", Experts)):
        if held.get(name) is not None:
            held[name] = part(**held[name])
    return kind(**held)
