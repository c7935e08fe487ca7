"""Train the teacher on random windows of the corpus."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from examples.tiny_pangu.optimizer import Optimizer, run_phases
from examples.tiny_pangu.recipe import Phase, Recipe, Workspace
from examples.tiny_pangu.teacher_model import Teacher


def read_stream(path: object) -> Tensor:
    """Read a uint16 token stream as int64."""
    return torch.from_numpy(np.fromfile(str(path), dtype=np.uint16).astype(np.int64))


def windows(stream: Tensor, phase: Phase, generator: torch.Generator) -> Tensor:
    """Draw `[batch, tokens + 1]` random windows."""
    last = len(stream) - phase.num_tokens - 1
    starts = torch.randint(0, last, (phase.batch_size,), generator=generator)
    return stream[starts[:, None] + torch.arange(phase.num_tokens + 1)]


def teacher_loss(teacher: Teacher, batch: Tensor) -> Tensor:
    """Return the mean cross-entropy of the next token, nats."""
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = teacher(batch[:, :-1].contiguous())
    return nn.functional.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]), batch[:, 1:].contiguous().reshape(-1)
    )


def held_out_loss(teacher: Teacher, held: Tensor, num_tokens: int = 256) -> float:
    """Return the mean loss over eight fixed batches of the held-out stream."""
    spacing = (len(held) - num_tokens - 1) // 16
    starts = torch.arange(16)[:, None] * spacing + torch.arange(num_tokens + 1)
    with torch.no_grad():
        return sum(float(teacher_loss(teacher, held[starts + shift * 700])) for shift in range(8)) / 8


def schedule(phases: tuple[Phase, ...]) -> list[Phase]:
    """Return the phase of every step."""
    return [phase for phase in phases for _ in range(phase.steps)]


def is_block_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Tell the matrices that Muon takes: all but the embedding."""
    return parameter.ndim == 2 and "embed" not in name


def train_teacher(recipe: Recipe, workspace: Workspace, *, compiled: bool = True) -> list[float]:
    """Train, save, and return the loss of every step.

    Compiled code is about 40 percent faster and not bit-reproducible; eager code on a fixed number of
    threads is.
    """
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    teacher = Teacher(recipe.shape)
    train, held = read_stream(workspace.train_tokens), read_stream(workspace.held_tokens)
    optimizer = Optimizer(
        teacher,
        is_block_matrix,
        adam_lr=recipe.teacher_adam_lr,
        muon_lr=recipe.teacher_muon_lr,
        warmup_steps=60,
        hold=0.4,
    )
    loss_of = torch.compile(teacher_loss, dynamic=False) if compiled else teacher_loss

    def loss(phase: Phase) -> tuple[Tensor, None]:
        return loss_of(teacher, windows(train, phase, generator)), None

    losses = run_phases("teacher ", schedule(recipe.teacher_phases), optimizer, loss)
    print(f"teacher held-out loss {held_out_loss(teacher, held):.4f} nats/token", flush=True)
    torch.save(teacher.state_dict(), workspace.teacher)
    return losses
