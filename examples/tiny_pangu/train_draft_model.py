"""Distil a small language model from the teacher: it drafts with its own cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from examples.tiny_pangu.lessons import Lessons, read_lessons
from examples.tiny_pangu.optimizer import Optimizer, run_phases, run_rounds
from examples.tiny_pangu.recipe import Phase, Recipe, Workspace
from examples.tiny_pangu.teacher_model import Teacher
from examples.tiny_pangu.train_teacher import is_block_matrix, read_stream, schedule, windows


def distillation_loss(
    student: Teacher, lessons: Lessons, corpus: Tensor, hard_share: float
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy and the share of generated rows with the teacher's first choice.

    Args:
        student: What is trained.
        lessons: Generated rows; the target is the teacher's distribution over its best tokens with its
            argmax.
        corpus: Rows of the corpus `[B, T]`; the target is the next token.
        hard_share: Weight of the argmax.
    """
    with torch.autocast("cpu", torch.bfloat16):
        logits = student(torch.cat([lessons.token_ids, corpus]))[0].float()
    num_generated = len(lessons.token_ids)
    best_ids, shares = lessons.best_ids.long(), lessons.best_shares.float()
    scores = logits[:num_generated].log_softmax(-1).gather(-1, best_ids)
    soft, hard = (shares / shares.sum(-1, keepdim=True) * scores).sum(-1), scores[..., 0]
    losses = [-((1 - hard_share) * soft + hard_share * hard).flatten()]
    text = logits[num_generated:, :-1].flatten(0, 1)
    losses.append(nn.functional.cross_entropy(text, corpus[:, 1:].flatten(), reduction="none"))
    agreed = (logits[:num_generated].argmax(-1) == best_ids[..., 0]).float().mean()
    return torch.cat(losses).mean(), agreed


@dataclass
class DraftModelTrainer:
    """What stays the same over all rounds."""

    recipe: Recipe
    lessons: Mapping[int, Lessons]
    corpus: Tensor
    student: Teacher
    compiled: bool

    def __post_init__(self) -> None:
        self.loss = torch.compile(distillation_loss, dynamic=False) if self.compiled else distillation_loss

    def run_round(self, number: int) -> list[float]:
        """Train one round, with a fresh optimizer and its own random numbers; return every loss."""
        recipe, phases = self.recipe, schedule(self.recipe.draft_model_rounds[number])
        generator = torch.Generator().manual_seed(recipe.seed + 13 + number)
        optimizer = Optimizer(
            self.student,
            is_block_matrix,
            adam_lr=recipe.draft_model_adam_lr,
            muon_lr=recipe.draft_model_muon_lr,
            warmup_steps=60,
            hold=0.3,
        )
        loss = partial(self._loss, generator=generator)
        return run_phases(f"draft model {number}:", phases, optimizer, loss)

    def _loss(self, phase: Phase, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        num_generated = round(phase.batch_size * self.recipe.draft_model_generated_share)
        generated = Phase(0, num_generated, phase.num_tokens)
        written = Phase(0, phase.batch_size - num_generated, phase.num_tokens - 1)
        batch = self.lessons[phase.num_tokens].pick(generated, generator)
        corpus = windows(self.corpus, written, generator)
        return self.loss(self.student, batch, corpus, self.recipe.hard_share)


def train_draft_model(recipe: Recipe, workspace: Workspace, *, compiled: bool = True) -> list[float]:
    """Train the draft model of a frozen teacher round by round; a round whose file is there is read.

    Returns:
        The loss of every step that was run.
    """
    torch.manual_seed(recipe.seed + 3)
    student, corpus = Teacher(recipe.draft_model), read_stream(workspace.train_tokens)
    lengths = {phase.num_tokens for phases in recipe.draft_model_rounds for phase in phases}
    lessons = {num_tokens: read_lessons(workspace, num_tokens) for num_tokens in lengths}
    trainer = DraftModelTrainer(recipe, lessons, corpus, student, compiled)
    done = [workspace.draft_model_round(number) for number in range(len(recipe.draft_model_rounds))]
    return run_rounds(student, done, trainer.run_round, workspace.draft_model)
