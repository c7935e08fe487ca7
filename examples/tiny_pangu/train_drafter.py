"""Train the drafter on the teacher's own text and on the corpus, by training-time test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from examples.tiny_pangu.drafter_model import Drafter, Rollout, rollout_loss
from examples.tiny_pangu.optimizer import Optimizer, run_phases, run_rounds
from examples.tiny_pangu.recipe import DrafterRound, Phase, Recipe, Workspace
from examples.tiny_pangu.teacher_model import Teacher, load_teacher
from examples.tiny_pangu.train_teacher import read_stream, schedule, windows


@dataclass(frozen=True)
class DrafterData:
    """Token sources: the corpus stream and generated text by sequence length."""

    corpus: Tensor
    generated: dict[int, Tensor]

    def batch(self, phase: Phase, generated_share: float, generator: torch.Generator) -> Tensor:
        """Draw `[B, T]`: corpus windows, then generated rows."""
        num_generated = round(phase.batch_size * generated_share)
        part = Phase(0, phase.batch_size - num_generated, phase.num_tokens - 1)
        source = self.generated[phase.num_tokens]
        rows = torch.randint(0, len(source), (num_generated,), generator=generator)
        return torch.cat([windows(self.corpus, part, generator), source[rows]])


def with_further(data: DrafterData, workspace: Workspace) -> DrafterData:
    """Return the same with the text that the drafter alone reads beside the short one."""
    further = torch.from_numpy(np.load(workspace.generated_further).astype(np.int64))
    length = further.shape[1]
    return DrafterData(data.corpus, {**data.generated, length: torch.cat([data.generated[length], further])})


def read_data(workspace: Workspace) -> DrafterData:
    """Read what the earlier stages left."""
    generated = [
        torch.from_numpy(np.load(path).astype(np.int64))
        for path in (workspace.generated, workspace.generated_long)
    ]
    return DrafterData(read_stream(workspace.train_tokens), {part.shape[1]: part for part in generated})


def frequent_tokens(data: DrafterData, vocab_size: int, draft_vocab_size: int) -> Tensor:
    """Return the most frequent target ids over both sources, each weighing one half, ascending."""
    sources = (data.corpus, torch.cat([part.flatten() for part in data.generated.values()]))
    shares = [torch.bincount(source, minlength=vocab_size) / len(source) for source in sources]
    order = torch.argsort(-(shares[0] + shares[1]), stable=True)
    return order[:draft_vocab_size].sort().values


def teach(teacher: Teacher, token_ids: Tensor, kept: Tensor, hard_share: float) -> tuple[Tensor, Tensor]:
    """Return targets over draft ids `[B, T, Vd]` and features, both bfloat16."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits, features = teacher(token_ids)
        logits = logits.float()
        soft = logits.softmax(-1)[..., kept]
        hard = (logits.argmax(-1)[..., None] == kept).float()
    return ((1 - hard_share) * soft + hard_share * hard).bfloat16(), features.bfloat16()


def drafter_loss(drafter: Drafter, data: Rollout, num_steps: int, decay: float) -> tuple[Tensor, Tensor]:
    """`rollout_loss` under bfloat16 autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        return rollout_loss(drafter, data, num_steps, decay)


def is_block_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Tell the matrices that Muon takes: all but the head."""
    return parameter.ndim == 2 and "head" not in name


@dataclass
class Trainer:
    """What stays the same over all rounds of drafter training."""

    recipe: Recipe
    teacher: Teacher
    data: DrafterData
    further: DrafterData
    drafter: Drafter
    compiled: bool

    def __post_init__(self) -> None:
        self.teach = torch.compile(teach, dynamic=False) if self.compiled else teach
        self.loss = torch.compile(drafter_loss, dynamic=False) if self.compiled else drafter_loss

    def run_round(self, number: int) -> list[float]:
        """Train one round, with a fresh optimizer and its own random numbers; return every loss."""
        settings = self.recipe.drafter_rounds[number]
        data = self.further if settings.reads_further else self.data
        generator = torch.Generator().manual_seed(self.recipe.seed + 5 + number)
        optimizer = Optimizer(
            self.drafter,
            is_block_matrix,
            adam_lr=settings.adam_lr,
            muon_lr=settings.muon_lr,
            warmup_steps=40,
            hold=settings.hold,
        )

        def loss(phase: Phase) -> tuple[Tensor, Tensor]:
            return self._loss(data.batch(phase, settings.generated_share, generator), settings)

        return run_phases(f"drafter {number}:", schedule(settings.phases), optimizer, loss)

    def _loss(self, token_ids: Tensor, settings: DrafterRound) -> tuple[Tensor, Tensor]:
        teacher, hard_share = self.teacher, self.recipe.hard_share
        targets, features = self.teach(teacher, token_ids, self.drafter.target_from_draft, hard_share)
        tables = (teacher.cos, teacher.sin, teacher.bias)
        rollout = Rollout(teacher.embed_tokens.weight, token_ids, features, targets, *tables)
        return self.loss(self.drafter, rollout, settings.rollout_steps, settings.rollout_decay)


def train_drafter(recipe: Recipe, workspace: Workspace, *, compiled: bool = True) -> list[float]:
    """Train round by round; a round whose file is there is read, not run again.

    Returns:
        The loss of every step that was run.
    """
    torch.manual_seed(recipe.seed)
    teacher = load_teacher(recipe.shape, torch.load(workspace.teacher, weights_only=True))
    data = read_data(workspace)
    kept = frequent_tokens(data, recipe.shape.vocab_size, recipe.draft_vocab_size)
    drafter = Drafter(recipe.shape, kept, teacher.embed_tokens.weight)
    trainer = Trainer(recipe, teacher, data, with_further(data, workspace), drafter, compiled)
    done = [workspace.drafter_round(number) for number in range(len(recipe.drafter_rounds))]
    return run_rounds(drafter, done, trainer.run_round, workspace.drafter)
