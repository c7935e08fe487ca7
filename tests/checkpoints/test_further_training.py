"""The training code of Medusa heads and draft model means what the decoder means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from examples.tiny_pangu.lessons import Lessons, learn
from examples.tiny_pangu.measure_further import by_head, head_ranks
from examples.tiny_pangu.recipe import Phase, TeacherShape
from examples.tiny_pangu.teacher_model import Teacher
from examples.tiny_pangu.train_draft_model import distillation_loss
from examples.tiny_pangu.train_medusa import IGNORED, MedusaHeads, draft_ids, medusa_loss
from tracing.models import MedusaConfig
from workbench.checkpoints.export import export_medusa
from workbench.checkpoints.files import read_weights
from workbench.checkpoints.medusa_names import canonical_names

SHAPE = TeacherShape(
    vocab_size=40, hidden_size=16, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=24,
    rope_theta=100.0, max_positions=64,
)  # fmt: skip
KEPT = torch.arange(0, 40, 2)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    torch.manual_seed(3)
    return Teacher(SHAPE).requires_grad_(False)


@pytest.fixture
def heads(teacher: Teacher) -> MedusaHeads:
    made = MedusaHeads(3, KEPT, teacher.embed_tokens.weight)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def test_each_head_is_asked_for_its_own_token(heads: MedusaHeads) -> None:
    """Hidden rows that name their place, heads that answer so many places ahead: all of them are right."""
    text = torch.arange(0, 32, 2)[None]  # every token is kept, token i has draft id i
    hidden = torch.nn.functional.one_hot(torch.arange(16), 16).float()[None]
    for number, head in enumerate(heads.heads):
        torch.nn.init.zeros_(head.block.weight)
        torch.nn.init.zeros_(head.block.bias)
        ahead = torch.zeros(20, 16)
        ahead[torch.arange(2 + number, 16), torch.arange(14 - number)] = 9.0
        head.last.weight.data.copy_(ahead)
    targets = draft_ids(KEPT, 40)[text]
    for stride in (1, 3):
        loss, right = medusa_loss(heads, hidden, targets, 0.8, stride)
        assert right.tolist() == [1, 1, 1]
        assert float(loss.detach()) < 0.1
    shifted = draft_ids(KEPT, 40)[text.roll(1)]
    assert medusa_loss(heads, hidden, shifted, 0.8)[1].tolist() == [0, 0, 0]


def test_tokens_outside_the_vocabulary_are_left_out(heads: MedusaHeads) -> None:
    assert draft_ids(KEPT, 40)[[1, 2, 39]].tolist() == [IGNORED, 1, IGNORED]
    hidden, text = torch.randn(1, 12, 16), torch.arange(1, 25, 2)[None]
    text[0, 6] = 4
    loss, right = medusa_loss(heads, hidden, draft_ids(KEPT, 40)[text], 0.8)
    assert torch.isfinite(loss)
    assert float(right.max()) <= 1 / 8


def test_ranks_are_those_of_the_exported_heads(teacher: Teacher, heads: MedusaHeads, tmp_path: Path) -> None:
    """The file that is written, read back and applied by hand, names the same ranks."""
    config = MedusaConfig(16, 3, 1, len(KEPT))
    weights = {name: tensor for name, tensor in heads.named().items() if name != "token_map"}
    for tensor in weights.values():
        tensor.copy_(tensor.half().float())  # what the file can hold
    export_medusa(tmp_path / "heads", config, weights, KEPT, 40)
    named = canonical_names(read_weights(tmp_path / "heads")).tensors
    text, start = torch.randint(0, 40, (24,), generator=torch.Generator().manual_seed(5)).tolist(), 3
    ranks = head_ranks(teacher, heads, text, start)
    assert ranks.shape == (24 - 1 - 3 - start, 3)
    hidden, kept = teacher.features(torch.tensor([text]))[0][0], KEPT.tolist()
    for row in range(len(ranks)):
        for head in range(3):
            block = f"blocks.{head}.layers.0"
            x = hidden[start + row]
            turned = named[f"{block}.weight"].float() @ x + named[f"{block}.bias"].float()
            logits = named[f"lm_heads.{head}.weight"].float() @ (x + torch.nn.functional.silu(turned))
            wanted = text[start + row + 2 + head]
            own = logits[kept.index(wanted)] if wanted in kept else -torch.inf
            assert ranks[row, head] == int((logits > own).sum())
    assert by_head(ranks)[0]["top10"] >= by_head(ranks)[0]["top1"]


def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn(teacher: Teacher) -> None:
    token_ids = torch.randint(0, 40, (4, 12), generator=torch.Generator().manual_seed(6))
    lessons = learn(teacher, token_ids, 8)
    assert lessons.hidden.shape == (4, 12, 16)
    assert (lessons.best_shares.diff() <= 0).all()
    picked = lessons.pick(Phase(0, 2, 12), torch.Generator().manual_seed(1))
    assert isinstance(picked, Lessons)
    _, agreed = distillation_loss(teacher, picked, token_ids, 0.5)
    assert float(agreed) > 0.9  # both are rounded to bfloat16
    torch.manual_seed(9)
    _, other = distillation_loss(Teacher(SHAPE), picked, token_ids, 0.5)
    assert float(other) < 0.5
