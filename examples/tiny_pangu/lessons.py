"""What the frozen teacher says about the text that it wrote, once for all that learn from it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from examples.tiny_pangu.recipe import Phase, Recipe, Workspace
from examples.tiny_pangu.teacher_model import Teacher, load_teacher
from examples.tiny_pangu.train_drafter import read_data

BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Lessons:
    """Rows of equally long generated text.

    Attributes:
        token_ids: int64 `[rows, T]`.
        hidden: What leaves the teacher's final norm, bfloat16 `[rows, T, hidden]`.
        best_ids: The teacher's best next tokens after each token, best first, int16 `[rows, T, K]`.
        best_shares: Their probabilities, float16 `[rows, T, K]`; the rest is left out.
    """

    token_ids: Tensor
    hidden: Tensor
    best_ids: Tensor
    best_shares: Tensor

    def pick(self, phase: Phase, generator: torch.Generator) -> Lessons:
        """Draw rows for a batch."""
        rows = torch.randint(0, len(self.token_ids), (phase.batch_size,), generator=generator)
        return Lessons(self.token_ids[rows], self.hidden[rows], self.best_ids[rows], self.best_shares[rows])


@torch.no_grad()
def learn(teacher: Teacher, token_ids: Tensor, width: int) -> Lessons:
    """Run the teacher over rows `[rows, T]`."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = teacher.features(token_ids)[0]
        logits = nn.functional.linear(hidden, teacher.embed_tokens.weight).float()
    shares, ids = logits.softmax(-1).topk(width)
    return Lessons(token_ids, hidden.bfloat16(), ids.short(), shares.half())


def write_lessons(recipe: Recipe, workspace: Workspace) -> None:
    """Run the teacher over all generated text; one file for each length of its rows."""
    teacher = load_teacher(recipe.shape, torch.load(workspace.teacher, weights_only=True))
    for num_tokens, token_ids in read_data(workspace).generated.items():
        begun, size = time.monotonic(), max(1, BATCH_TOKENS // num_tokens)
        parts = [
            learn(teacher, token_ids[row : row + size], recipe.lesson_width)
            for row in range(0, len(token_ids), size)
        ]
        fields = ("token_ids", "hidden", "best_ids", "best_shares")
        whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in fields}
        torch.save(whole, workspace.lessons(num_tokens))
        print(f"lessons {tuple(token_ids.shape)} {time.monotonic() - begun:.0f} s", flush=True)


def read_lessons(workspace: Workspace, num_tokens: int) -> Lessons:
    """Read what `write_lessons` wrote about rows of so many tokens."""
    return Lessons(**torch.load(workspace.lessons(num_tokens), weights_only=True, mmap=True))
