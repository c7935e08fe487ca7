"""Medusa heads as plain data: the official, OpenPangu, vLLM and TensorRT-LLM layouts normalised to one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from tracing.errors import CheckpointError
from tracing.models import MedusaConfig
from workbench.checkpoints import checks
from workbench.checkpoints.config_values import flag, real
from workbench.checkpoints.files import optional_json, read_weights
from workbench.checkpoints.loaded_drafter import DrafterPart
from workbench.checkpoints.loaded_teacher import LoadedTeacher, model_report
from workbench.checkpoints.medusa_names import NamedHeads, canonical_names
from workbench.checkpoints.report import Check, ModelReport
from workbench.checkpoints.shapes import Matched, match

TEACHER_HEAD: Final = "lm_head.weight"


def load_medusa(directory: Path, teacher: LoadedTeacher) -> DrafterPart:
    """Load Medusa heads for a teacher.

    Raises:
        ModelMissingError: A file is missing.
        CheckpointError: Something is broken or inconsistent; names the tensor.
    """
    config, named = optional_json(directory / "config.json"), canonical_names(read_weights(directory))
    tensors, target_ids = _on_kept_tokens(named.tensors, config, teacher)
    heads = _config(named, tensors, config, teacher)
    matched = match(_shapes(heads, named), tensors, ignore=lambda name: name == "token_map")
    return DrafterPart(
        config=heads,
        weights=matched.weights,
        target_from_draft=target_ids,
        report=_report(directory, named, matched),
        d2t_convention="identity" if target_ids is None else "absolute",
        checks=_checks(named, matched, config, heads),
    )


def _on_kept_tokens(
    tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], teacher: LoadedTeacher
) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """Return the tensors with a last layer for each head, rows of kept tokens alone, and their target ids.

    Raises:
        CheckpointError: A token map that is none.
    """
    own = [name for name in tensors if name.startswith("lm_heads.")]
    made = dict(tensors)
    if flag(config, "original_lm_head") and "lm_heads.0.weight" in made:
        made.setdefault("lm_head.weight", made["lm_heads.0.weight"])
        own = []
    if not own:
        made = {name: tensor for name, tensor in made.items() if not name.startswith("lm_heads.")}
        made.setdefault("lm_head.weight", teacher.matched.weights[TEACHER_HEAD])
    else:
        made.pop("lm_head.weight", None)
    token_map = made.get("token_map")
    if token_map is None:
        return made, None
    target_ids = _token_map(token_map, teacher.config.vocab_size)
    for name in [name for name in made if name.startswith("lm_head")]:
        if made[name].shape[0] > len(target_ids):
            made[name] = made[name][target_ids]
    return made, target_ids


def _token_map(token_map: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """Return target token ids of a reduced vocabulary, int64 `[Vd]`."""
    if token_map.dim() != 1 or token_map.dtype not in (torch.int32, torch.int64) or not len(token_map):
        raise CheckpointError(
            f"token_map should be a list of token ids, has shape {list(token_map.shape)} of {token_map.dtype}"
        )
    ids = token_map.to(torch.int64)
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        raise CheckpointError(f"token_map should hold ids from 0 to {vocab_size - 1}, holds {low} to {high}")
    if len(set(ids.tolist())) != len(ids):
        raise CheckpointError("token_map should hold each token id once")
    return ids


def _config(
    named: NamedHeads, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], teacher: LoadedTeacher
) -> MedusaConfig:
    shared = "lm_head.weight" in tensors
    last = tensors.get("lm_head.weight" if shared else "lm_heads.0.weight")
    if last is None or last.dim() != 2:
        raise CheckpointError("lm_heads.0.weight is missing or is no matrix; every head ends in one")
    rows = int(last.shape[0])
    if "token_map" not in tensors and rows != teacher.config.vocab_size:
        raise CheckpointError(
            f"the Medusa heads have {rows} rows for a vocabulary of {teacher.config.vocab_size}; "
            "fewer rows need a token_map"
        )
    return MedusaConfig(
        hidden_size=teacher.config.hidden_size,
        num_heads=named.num_heads,
        num_layers=named.num_layers,
        draft_vocab_size=rows,
        shared_head=shared,
        logit_scale=real(config, "logit_scale", 1.0),
    )


def _shapes(config: MedusaConfig, named: NamedHeads) -> dict[str, tuple[int, ...]]:
    hidden, heads = config.hidden_size, range(config.num_heads)
    blocks = [f"blocks.{head}.layers.{layer}" for head in heads for layer in range(config.num_layers)]
    with_bias = _has_biases(named)
    return {
        **{f"{block}.weight": (hidden, hidden) for block in blocks},
        **{f"{block}.bias": (hidden,) for block in blocks if with_bias},
        **{f"{config.head(head)}.weight": (config.draft_vocab_size, hidden) for head in heads},
    }


def _has_biases(named: NamedHeads) -> bool:
    """Return whether blocks have biases; those of one layout have them by definition."""
    return named.layout != "vllm" or any(name.endswith(".bias") for name in named.tensors)


def _report(directory: Path, named: NamedHeads, matched: Matched) -> ModelReport:
    found = Matched(matched.weights, (*matched.unexpected, *named.unexpected), matched.ignored)
    shared = "lm_head.weight" in matched.weights and "lm_head.weight" not in named.tensors
    missing = ("lm_heads (the teacher's lm_head is used)",) if shared else ()
    return model_report(directory, f"medusa {named.layout}", found, {}, missing)


def _checks(
    named: NamedHeads, matched: Matched, config: Mapping[str, Any], heads: MedusaConfig
) -> tuple[Check, ...]:
    return (
        checks.finite("drafter", matched.weights),
        checks.dtypes("drafter", matched.weights),
        checks.unexpected("drafter", (*matched.unexpected, *named.unexpected)),
        _stated("heads", heads.num_heads, config),
        _stated("layers", heads.num_layers, config),
        _biases(named, config),
    )


def _stated(what: str, found: int, config: Mapping[str, Any]) -> Check:
    """Compare what the file holds with config.json, whose keys vary: `medusa_num_heads`, `num_heads`, ..."""
    said = {key: value for key, value in config.items() if "num" in key and what in key}
    stated = next(iter(said.values()), found)
    return checks.judged(
        f"drafter.{what}",
        good=stated == found,
        sentence=f"the file has {found} {what}, config.json says {stated!r}"[:200],
        otherwise="warning",
    )


def _biases(named: NamedHeads, config: Mapping[str, Any]) -> Check:
    """Warn of biases that a conversion drops: vLLM's loader reads none unless it is told of them."""
    has_some = any(name.endswith(".bias") for name in named.tensors)
    doubt = ""
    if not has_some:
        doubt = "; those of the official training have them, so a conversion may have lost them"
    elif named.layout == "vllm" and not flag(config, "medusa_fc_bias"):
        doubt = ", which vLLM drops in silence unless config.json says medusa_fc_bias: true"
    sentence = f"the residual blocks have {'biases' if has_some else 'no biases'}{doubt}"
    return checks.judged("drafter.biases", good=not doubt, sentence=sentence, otherwise="warning")
