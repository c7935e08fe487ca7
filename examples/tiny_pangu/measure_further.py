"""Acceptance of the Medusa heads and of the draft model on held-out prompts, by the reference path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.tiny_pangu.heldout import Prompt
from examples.tiny_pangu.measure import NOT_REPETITIVE, Measured, measure_prompts, summary
from examples.tiny_pangu.recipe import Recipe, Workspace
from examples.tiny_pangu.teacher_model import Teacher, load_teacher
from examples.tiny_pangu.train_medusa import MedusaHeads
from reference.path import make_path
from tracing.settings import USUAL_TREE_NODES, DecodeSettings
from tracing.static_tree import WIDTH, static_tree
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.shipped import held_out_prompts

EVERY: Final = 2
"""Step between the held-out prompts that are measured; half of them are code, half prose."""
STATIC_TREE: Final = DecodeSettings().static_tree
SETTINGS: Final = {
    "medusa": DecodeSettings(tree_nodes=1 + len(static_tree(STATIC_TREE)), static_tree=STATIC_TREE),
    "draft_model": DecodeSettings(tree_nodes=USUAL_TREE_NODES["draft_model"]),
}


@torch.no_grad()
def head_ranks(
    teacher: Teacher, heads: MedusaHeads, token_ids: Sequence[int], start: int
) -> NDArray[np.int64]:
    """Return the rank, from 0, at which each head has the token that it is to name, int64 `[rows, heads]`.

    Args:
        teacher: In training form, float32.
        heads: In training form, float32.
        token_ids: A text.
        start: The first row; the last is the last one that has a target for every head.
    """
    hidden = teacher.features(torch.tensor([token_ids]))[0][0]
    stop = len(token_ids) - 1 - len(heads.heads)
    text = torch.tensor(token_ids)
    ranks: list[Tensor] = []
    for number, head in enumerate(heads.heads):
        logits = head(hidden[start:stop])
        wanted = text[start + 2 + number : stop + 2 + number, None]
        place = (heads.token_map == wanted).long()
        own = torch.where(place.any(1), logits.gather(1, place.argmax(1, keepdim=True))[:, 0], -torch.inf)
        ranks.append((logits > own[:, None]).sum(1))
    return torch.stack(ranks, 1).numpy()


def by_head(ranks: NDArray[np.int64]) -> list[dict[str, float]]:
    """Return for each head how often its best token is right, and how often one of its `WIDTH` best."""
    return [
        {"top1": round(float((column == 0).mean()), 4), "top10": round(float((column < WIDTH).mean()), 4)}
        for column in ranks.T
    ]


def groups(results: Sequence[Measured]) -> dict[str, Any]:
    """Return the summaries of all prompts and of the usual groups of them."""
    return {
        "all": summary(results),
        "code": summary([result for result in results if result.kind == "code"]),
        "prose": summary([result for result in results if result.kind == "prose"]),
        "not_repetitive": summary([result for result in results if result.distinct >= NOT_REPETITIVE]),
    }


@torch.no_grad()
def measure_further(recipe: Recipe, workspace: Workspace, proposer: str) -> None:
    """Measure one of `SETTINGS` and write what was found."""
    settings = SETTINGS[proposer]
    held_out = held_out_prompts()[::EVERY]
    prompts = [Prompt(each.id, each.kind, each.source, each.text) for each in held_out]
    loaded = load_pair(workspace.exported / "teacher", workspace.exported / proposer, proposer=proposer)
    path = make_path(loaded.pair, settings, dtype="float32", rung="cached")
    results = measure_prompts(path, loaded.tokenizer, prompts, settings.max_new_tokens)
    data = groups(results)
    if proposer == "medusa":
        encoded = [loaded.tokenizer.encode(prompt.text) for prompt in prompts]
        texts = [
            ([*token_ids, *result.token_ids], len(token_ids) - 1)
            for token_ids, result in zip(encoded, results, strict=True)
        ]
        ranks = _ranks(recipe, workspace, texts)
        data |= {"heads": by_head(ranks), "num_rows": len(ranks)}
    workspace.measured_further(proposer).write_text(json.dumps(data, indent=1), encoding="utf-8")


def _ranks(recipe: Recipe, workspace: Workspace, texts: Sequence[tuple[list[int], int]]) -> NDArray[np.int64]:
    teacher = load_teacher(recipe.shape, torch.load(workspace.teacher, weights_only=True))
    weights = torch.load(workspace.medusa, weights_only=True)
    heads = MedusaHeads(recipe.medusa_num_heads, weights["token_map"], teacher.embed_tokens.weight)
    heads.read(weights)
    return np.concatenate([head_ranks(teacher, heads, text, start) for text, start in texts])
