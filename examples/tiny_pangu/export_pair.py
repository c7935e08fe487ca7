"""Export what was trained: openPangu-Embedded models, official EAGLE-3 drafter, Medusa heads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer, processors
from torch import Tensor

from examples.tiny_pangu.recipe import BOS_ID, EOS_ID, SPECIAL_TOKENS, UNK_ID, Recipe, TeacherShape, Workspace
from tracing.models import DrafterConfig, MedusaConfig, RopeConfig, TeacherConfig
from workbench.checkpoints.export import (
    SpecialIds,
    export_drafter,
    export_medusa,
    export_teacher,
    export_tokenizer,
)

MAX_POSITIONS = 2048
"""Longest context that is allowed; training went to 1024, rotary embedding goes on."""

SPECIAL = SpecialIds(bos=BOS_ID, eos=EOS_ID, pad=UNK_ID)


def teacher_config(shape: TeacherShape) -> TeacherConfig:
    """Return the teacher's configuration in the workbench's words."""
    return TeacherConfig(
        model_type="PanguEmbedded",
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        rms_norm_eps=shape.rms_norm_eps,
        rope=RopeConfig(theta=shape.rope_theta),
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        qkv_bias=True,
        o_bias=True,
    )


def drafter_config(shape: TeacherShape, draft_vocab_size: int) -> DrafterConfig:
    """Return the drafter's configuration in the workbench's words."""
    return DrafterConfig(
        hidden_size=shape.hidden_size,
        target_hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        rms_norm_eps=shape.rms_norm_eps,
        rope=RopeConfig(theta=shape.rope_theta),
        vocab_size=shape.vocab_size,
        draft_vocab_size=draft_vocab_size,
        aux_layers=shape.aux_layers,
        max_position_embeddings=MAX_POSITIONS,
    )


def shipped_tokenizer_json(workspace: Workspace) -> str:
    """Return the trained tokenizer with `<s>` before every text, as its documents had it."""
    tokenizer = Tokenizer.from_file(str(workspace.tokenizer))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair=None, special_tokens=[("<s>", BOS_ID)]
    )
    return tokenizer.to_str()


def export_pair(recipe: Recipe, workspace: Workspace) -> None:
    """Write `teacher/` and `drafter/`."""
    drafter = dict(torch.load(workspace.drafter, weights_only=True))
    target_from_draft = drafter.pop("target_from_draft")
    _export_model(
        workspace.exported / "teacher",
        recipe.shape,
        torch.load(workspace.teacher, weights_only=True),
        shipped_tokenizer_json(workspace),
    )
    export_drafter(
        workspace.exported / "drafter",
        drafter_config(recipe.shape, len(target_from_draft)),
        drafter,
        target_from_draft,
        num_teacher_layers=recipe.shape.num_layers,
        special=SPECIAL,
    )


def export_further(recipe: Recipe, workspace: Workspace) -> None:
    """Write `medusa/` and `draft_model/`, drafters of the exported teacher."""
    heads = dict(torch.load(workspace.medusa, weights_only=True))
    token_map = heads.pop("token_map")
    sizes = MedusaConfig(recipe.shape.hidden_size, recipe.medusa_num_heads, 1, len(token_map))
    export_medusa(workspace.exported / "medusa", sizes, heads, token_map, recipe.shape.vocab_size)
    _export_model(
        workspace.exported / "draft_model",
        recipe.draft_model,
        torch.load(workspace.draft_model, weights_only=True),
        (workspace.exported / "teacher" / "tokenizer.json").read_text(encoding="utf-8"),
    )


def _export_model(
    directory: Path, shape: TeacherShape, state: Mapping[str, Tensor], tokenizer_json: str
) -> None:
    """Write a language model with its tokenizer."""
    weights = {f"model.{name}": tensor for name, tensor in state.items()}
    export_teacher(directory, teacher_config(shape), weights, SPECIAL)
    names = {"bos_token": SPECIAL_TOKENS[BOS_ID], "eos_token": SPECIAL_TOKENS[EOS_ID]}
    names |= {"unk_token": SPECIAL_TOKENS[UNK_ID], "pad_token": SPECIAL_TOKENS[UNK_ID]}
    export_tokenizer(directory, tokenizer_json, names, MAX_POSITIONS)
