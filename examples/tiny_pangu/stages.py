"""The stages in order; each leaves a file, and a stage whose file is there is not run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.tiny_pangu.corpus import build_corpus
from examples.tiny_pangu.export_pair import export_further, export_pair
from examples.tiny_pangu.generate import generate, generate_further
from examples.tiny_pangu.lessons import write_lessons
from examples.tiny_pangu.measure import measure
from examples.tiny_pangu.measure_further import measure_further
from examples.tiny_pangu.model_card import write_further_cards, write_model_card
from examples.tiny_pangu.prompts import choose_prompts
from examples.tiny_pangu.recipe import Recipe, Workspace
from examples.tiny_pangu.train_draft_model import train_draft_model
from examples.tiny_pangu.train_drafter import train_drafter
from examples.tiny_pangu.train_medusa import train_medusa
from examples.tiny_pangu.train_teacher import train_teacher


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what it is called, the file that proves it done, and how to run it."""

    name: str
    product: Callable[[Workspace], Path]
    run: Callable[[Recipe, Workspace, bool], object]


def _corpus(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    build_corpus(recipe, workspace)


def _teacher(recipe: Recipe, workspace: Workspace, compiled: bool) -> None:
    train_teacher(recipe, workspace, compiled=compiled)


def _generate(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    generate(recipe, workspace)


def _generate_further(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    generate_further(recipe, workspace)


def _drafter(recipe: Recipe, workspace: Workspace, compiled: bool) -> None:
    train_drafter(recipe, workspace, compiled=compiled)


def _export(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    export_pair(recipe, workspace)


def _lessons(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    write_lessons(recipe, workspace)


def _medusa(recipe: Recipe, workspace: Workspace, compiled: bool) -> None:
    train_medusa(recipe, workspace, compiled=compiled)


def _draft_model(recipe: Recipe, workspace: Workspace, compiled: bool) -> None:
    train_draft_model(recipe, workspace, compiled=compiled)


def _export_further(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    export_further(recipe, workspace)


def _measure_medusa(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    measure_further(recipe, workspace, "medusa")


def _measure_draft_model(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    measure_further(recipe, workspace, "draft_model")


def _further_cards(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    write_further_cards(recipe, workspace)


def _measure(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    measure(recipe, workspace)


def _prompts(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    choose_prompts(recipe, workspace)


def _card(recipe: Recipe, workspace: Workspace, _compiled: bool) -> None:
    write_model_card(recipe, workspace)


WEIGHTS = "model.safetensors"
GENERATE = Stage("generate", lambda workspace: workspace.generated_long, _generate)
FURTHER = (
    Stage("lessons", lambda workspace: workspace.lessons(Recipe().generate_long.num_tokens), _lessons),
    Stage("medusa", lambda workspace: workspace.medusa, _medusa),
    Stage("draft-model", lambda workspace: workspace.draft_model, _draft_model),
    Stage("export-further", lambda workspace: workspace.exported / "draft_model" / WEIGHTS, _export_further),
    Stage("measure-medusa", lambda workspace: workspace.measured_further("medusa"), _measure_medusa),
    Stage(
        "measure-draft-model",
        lambda workspace: workspace.measured_further("draft_model"),
        _measure_draft_model,
    ),
    Stage("cards", lambda workspace: workspace.exported / "draft_model" / "README.md", _further_cards),
)
"""Medusa heads and a draft model, once there is a teacher that is exported, and text of it."""
STAGES = (
    Stage("corpus", lambda workspace: workspace.corpus_facts, _corpus),
    Stage("teacher", lambda workspace: workspace.teacher, _teacher),
    GENERATE,
    Stage("generate-further", lambda workspace: workspace.generated_further, _generate_further),
    Stage("drafter", lambda workspace: workspace.drafter, _drafter),
    Stage("export", lambda workspace: workspace.exported / "drafter" / WEIGHTS, _export),
    Stage("measure", lambda workspace: workspace.measured, _measure),
    Stage("prompts", lambda workspace: workspace.prompts / "two_turns.jsonl", _prompts),
    *FURTHER,
    Stage("card", lambda workspace: workspace.exported / "README.md", _card),
)


def run_stages(
    recipe: Recipe,
    workspace: Workspace,
    stages: Sequence[Stage] = STAGES,
    *,
    until: str = STAGES[-1].name,
    compiled: bool,
) -> None:
    """Run what is not there yet, up to and including `until`."""
    workspace.directory.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        product = stage.product(workspace)
        if product.exists():
            print(f"{stage.name}: {product} is there", flush=True)
        else:
            print(f"{stage.name}: begins", flush=True)
            stage.run(recipe, workspace, compiled)
        if stage.name == until:
            return
