"""Train Medusa heads as published (Medusa-1): a frozen teacher, cross entropy, later heads weigh less.

The text is the teacher's own (self-distillation). Head k reads the final hidden state of token t and names
token t + k + 2: the teacher itself names t + 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from examples.tiny_pangu.lessons import Lessons, read_lessons
from examples.tiny_pangu.optimizer import Optimizer, run_phases
from examples.tiny_pangu.recipe import Phase, Recipe, Workspace
from examples.tiny_pangu.teacher_model import load_teacher
from examples.tiny_pangu.train_drafter import frequent_tokens, read_data
from examples.tiny_pangu.train_teacher import schedule

IGNORED = -100
"""Target of a token outside the reduced vocabulary; `cross_entropy` leaves it out."""


class MedusaHead(nn.Module):
    """One residual block that begins as the identity, and a last layer that begins as the teacher's head."""

    def __init__(self, last: Tensor) -> None:
        super().__init__()
        self.block = nn.Linear(last.shape[1], last.shape[1])
        self.last = nn.Linear(last.shape[1], last.shape[0], bias=False)
        nn.init.zeros_(self.block.weight)
        nn.init.zeros_(self.block.bias)
        self.last.weight.data.copy_(last)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits `[B, T, Vd]` of final hidden states `[B, T, hidden]`."""
        return self.last(hidden + nn.functional.silu(self.block(hidden)).float())  # type: ignore[no-any-return]  # torch: Any


class MedusaHeads(nn.Module):
    """All heads.

    Args:
        num_heads: How many.
        token_map: Target ids of the reduced vocabulary, int64 `[Vd]`, ascending.
        teacher_head: `[V, hidden]`.
    """

    token_map: Tensor

    def __init__(self, num_heads: int, token_map: Tensor, teacher_head: Tensor) -> None:
        super().__init__()
        self.heads = nn.ModuleList(MedusaHead(teacher_head[token_map]) for _ in range(num_heads))
        self.register_buffer("token_map", token_map.clone())

    def named(self) -> dict[str, Tensor]:
        """Return the weights, shared, under vLLM's names, with the token map."""
        weights = {"token_map": self.token_map}
        for number, head in enumerate(self.heads):
            assert isinstance(head, MedusaHead)
            weights[f"blocks.{number}.layers.0.weight"] = head.block.weight.data
            weights[f"blocks.{number}.layers.0.bias"] = head.block.bias.data
            weights[f"lm_heads.{number}.weight"] = head.last.weight.data
        return weights

    def read(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights that `named` returned."""
        for name, own in self.named().items():
            own.copy_(weights[name])


def draft_ids(token_map: Tensor, vocab_size: int) -> Tensor:
    """Return the draft id of each target id, `IGNORED` where there is none, int64 `[V]`."""
    ids = torch.full((vocab_size,), IGNORED)
    ids[token_map] = torch.arange(len(token_map))
    return ids


def medusa_loss(
    heads: MedusaHeads, hidden: Tensor, targets: Tensor, decay: float, stride: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the weighted cross entropy and the share of right first choices per head, `[heads]`.

    Args:
        heads: What is trained.
        hidden: Final hidden states `[B, T, hidden]`.
        targets: Draft ids of the same tokens `[B, T]`, `IGNORED` outside the reduced vocabulary.
        decay: Loss weight of each further head, relative to the head before.
        stride: Step between the rows that are learnt from.
    """
    total, right = torch.zeros(()), []
    num_rows = hidden.shape[1] - 1 - len(heads.heads)  # rows that have a target for every head
    with torch.autocast("cpu", torch.bfloat16):
        for number, head in enumerate(heads.heads):
            logits = head(hidden[:, :num_rows:stride]).float().flatten(0, 1)
            wanted = targets[:, 2 + number : 2 + number + num_rows : stride].flatten()
            total = total + decay**number * nn.functional.cross_entropy(logits, wanted, ignore_index=IGNORED)
            right.append((logits.argmax(-1) == wanted).float().mean())
    return total, torch.stack(right)


@dataclass
class MedusaTrainer:
    """What stays the same over all steps; `latest` is where weights are kept meanwhile."""

    recipe: Recipe
    lessons: Mapping[int, Lessons]
    heads: MedusaHeads
    latest: Path
    compiled: bool

    def __post_init__(self) -> None:
        self.loss = torch.compile(medusa_loss, dynamic=False) if self.compiled else medusa_loss
        self.draft_ids = draft_ids(self.heads.token_map, self.recipe.shape.vocab_size)

    def run(self) -> list[float]:
        """Train all steps; return every loss."""
        recipe, phases = self.recipe, schedule(self.recipe.medusa_phases)
        generator = torch.Generator().manual_seed(recipe.seed + 11)
        optimizer = Optimizer(
            self.heads,
            lambda _name, _parameter: False,
            adam_lr=recipe.medusa_lr,
            muon_lr=0.0,
            warmup_steps=40,
            hold=0.3,
        )
        return run_phases(
            "medusa ",
            phases,
            optimizer,
            lambda phase: self._loss(phase, generator),
            lambda: torch.save(self.heads.named(), self.latest),
        )

    def _loss(self, phase: Phase, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        recipe, batch = self.recipe, self.lessons[phase.num_tokens].pick(phase, generator)
        first = int(torch.randint(0, recipe.medusa_stride, (1,), generator=generator))
        hidden, targets = batch.hidden[:, first:].float(), self.draft_ids[batch.token_ids[:, first:]]
        return self.loss(self.heads, hidden, targets, recipe.medusa_decay, recipe.medusa_stride)


def train_medusa(recipe: Recipe, workspace: Workspace, *, compiled: bool = True) -> list[float]:
    """Train the heads of a frozen teacher, save them, and return the loss of every step."""
    torch.manual_seed(recipe.seed)
    teacher = load_teacher(recipe.shape, torch.load(workspace.teacher, weights_only=True))
    kept = frequent_tokens(read_data(workspace), recipe.shape.vocab_size, recipe.medusa_vocab_size)
    heads = MedusaHeads(recipe.medusa_num_heads, kept, teacher.embed_tokens.weight)
    latest = workspace.medusa.with_suffix(".latest.pt")
    lessons = {phase.num_tokens: read_lessons(workspace, phase.num_tokens) for phase in recipe.medusa_phases}
    losses = MedusaTrainer(recipe, lessons, heads, latest, compiled).run()
    torch.save(heads.named(), workspace.medusa)
    return losses
