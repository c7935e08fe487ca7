"""Start from a teacher that is exported already: it stays as it is, and what drafts for it is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from examples.tiny_pangu.corpus import build_corpus
from examples.tiny_pangu.export_pair import shipped_tokenizer_json
from examples.tiny_pangu.recipe import Recipe, Workspace

PREFIX: Final = "model."


def adopt_teacher(recipe: Recipe, workspace: Workspace, exported: Path) -> None:
    """Give a workspace its corpus and an exported teacher, as far as they are not there yet.

    Raises:
        ValueError: The tokenizer that this interpreter's library gives is not the teacher's.
    """
    workspace.directory.mkdir(parents=True, exist_ok=True)
    if not workspace.corpus_facts.exists():
        build_corpus(recipe, workspace)
    if shipped_tokenizer_json(workspace) != Tokenizer.from_file(str(exported / "tokenizer.json")).to_str():
        raise ValueError(
            "the tokenizer that this interpreter's standard library gives is not the teacher's; "
            "run the Python version that the model card names"
        )
    if not workspace.teacher.exists():
        weights = load_file(exported / "model.safetensors")
        state = {name.removeprefix(PREFIX): tensor.float() for name, tensor in weights.items()}
        torch.save(state, workspace.teacher)
    shutil.copytree(exported, workspace.exported / "teacher", dirs_exist_ok=True)
