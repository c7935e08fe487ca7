"""The training code of the shipped pair means what the decoder means."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples.tiny_pangu.corpus import SourceFile, documents
from examples.tiny_pangu.drafter_model import Drafter, Rollout, rollout_loss
from examples.tiny_pangu.export_pair import drafter_config, teacher_config
from examples.tiny_pangu.generate import CachedTeacher, Writer
from examples.tiny_pangu.measure import distinct_share
from examples.tiny_pangu.optimizer import orthogonalise
from examples.tiny_pangu.recipe import BOS_ID, EOS_ID, Recipe, TeacherShape
from examples.tiny_pangu.teacher_model import Teacher
from reference.path import make_path
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import DraftLevel, NullWatch
from workbench.checkpoints.aux_ids import default_aux_layers

SHAPE = TeacherShape(
    vocab_size=60, hidden_size=16, num_layers=8, num_heads=4, num_kv_heads=2, intermediate_size=24,
    rope_theta=100.0, max_positions=64,
)  # fmt: skip
KEPT = torch.arange(1, 60, 2)
NUM_STEPS = 5


@pytest.fixture(scope="module")
def models() -> tuple[Teacher, Drafter]:
    torch.manual_seed(2)
    teacher = Teacher(SHAPE).requires_grad_(False)
    for name, parameter in teacher.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return teacher, Drafter(SHAPE, KEPT, teacher.embed_tokens.weight).requires_grad_(False)


def as_pair(teacher: Teacher, drafter: Drafter) -> ModelPair:
    weights = {f"model.{name}": tensor for name, tensor in teacher.state_dict().items()}
    draft_weights = {name: tensor for name, tensor in drafter.state_dict().items() if "." in name}
    return ModelPair(
        teacher=teacher_config(SHAPE),
        teacher_weights=weights | {"lm_head.weight": teacher.embed_tokens.weight},
        drafter=drafter_config(SHAPE, len(KEPT)),
        drafter_weights=draft_weights | {"embed_tokens.weight": teacher.embed_tokens.weight},
        target_from_draft=KEPT,
    )


def chain_of_the_reference(pair: ModelPair, prompt: list[int]) -> tuple[int, tuple[DraftLevel, ...]]:
    path = make_path(pair, DecodeSettings(tree_nodes=NUM_STEPS + 1, depth=NUM_STEPS - 1, top_k=1))
    state = path.begin(NullWatch())
    assert path.stages.prefill is not None
    assert path.stages.draft is not None
    root = int(path.stages.prefill(state, prompt).context_token_ids[-1])
    return root, path.stages.draft(state).levels


def logits_of_every_step(drafter: Drafter, data: Rollout) -> list[torch.Tensor]:
    """Return what the training-time test feeds its losses, `[T, Vd]` per step."""
    seen: list[torch.Tensor] = []
    handle = drafter.lm_head.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0]))
    rollout_loss(drafter, data, NUM_STEPS, 1.0)
    handle.remove()
    return seen


def test_the_training_time_test_is_the_draft_chain(models: tuple[Teacher, Drafter]) -> None:
    """The row that drafts scores, at every step, what the reference scores at that depth.

    Catches a shifted feature row, a position off by one, a wrong tap, a normed feature handed on, or keys of
    earlier draft steps lost: each changes the score of some step.
    """
    teacher, drafter = models
    prompt = [1, 7, 22, 13, 4, 40, 31]
    root, levels = chain_of_the_reference(as_pair(teacher, drafter), prompt)
    drafted = [int(level.token_ids.reshape(-1)[0]) for level in levels]
    cumulative = [float(level.scores.reshape(-1)[0]) for level in levels]
    token_ids = torch.tensor([[*prompt, root, *drafted, 0]])
    _, features = teacher(token_ids)
    targets = torch.full((1, token_ids.shape[1], len(KEPT)), 1 / len(KEPT))
    tables = (teacher.cos, teacher.sin, teacher.bias)
    data = Rollout(teacher.embed_tokens.weight, token_ids, features, targets, *tables)
    steps = logits_of_every_step(drafter, data)
    assert len(steps) == len(drafted) == NUM_STEPS
    total = 0.0
    for logits, token_id, expected in zip(steps, drafted, cumulative, strict=True):
        draft_id = int((token_id == KEPT).nonzero())
        total += float(logits[len(prompt) - 1].log_softmax(-1)[draft_id])
        assert total == pytest.approx(expected, abs=5e-5)  # float32 on both sides


def test_the_reference_teacher_is_the_trained_teacher(models: tuple[Teacher, Drafter]) -> None:
    """Features and logits of prefill: the same taps, biases, rotary base and tied head."""
    teacher, drafter = models
    prompt = [1, 7, 22, 13, 4, 40, 31]
    path = make_path(as_pair(teacher, drafter), DecodeSettings())
    assert path.stages.prefill is not None
    prefilled = path.stages.prefill(path.begin(NullWatch()), prompt)
    logits, features = teacher(torch.tensor([prompt]))
    # float32 on both sides, 8 layers: rounding stays three orders below a misplaced bias or tap
    torch.testing.assert_close(prefilled.logits, logits[0, -1], atol=2e-4, rtol=0)
    torch.testing.assert_close(prefilled.features, features[0], atol=2e-4, rtol=0)


def test_the_cached_teacher_is_the_teacher(models: tuple[Teacher, Drafter]) -> None:
    """Catches heads grouped the wrong way round and a bias row off by one; the rest is bfloat16 rounding."""
    teacher, _ = models
    token_ids = torch.randint(0, 60, (3, 20), generator=torch.Generator().manual_seed(4))
    engine = CachedTeacher(teacher, 3, 20)
    logits = engine.forward(token_ids[:, :12])
    for column in range(12, 20):
        logits = engine.forward(token_ids[:, column : column + 1])
    expected = teacher(token_ids)[0][:, -1]
    assert float((logits - expected).abs().max()) < 0.03 * float(expected.abs().max())


def test_after_an_end_a_document_begins() -> None:
    corpus = torch.tensor([BOS_ID, 10, 11, 12, EOS_ID, BOS_ID, 20, 21, 22, EOS_ID])
    recipe = Recipe(forced_len=3)
    writer = Writer(corpus, torch.tensor([5]), torch.Generator().manual_seed(0), recipe, [[], []])
    ends = torch.zeros(2, 30).index_fill(1, torch.tensor([EOS_ID]), 9.0)
    ends[1] = torch.zeros(30).index_fill(0, torch.tensor([9]), 9.0)
    greedy = torch.tensor([True, True])
    written = torch.cat([writer.choose(ends, greedy) for _ in range(5)], 1)
    assert written.tolist() == [[EOS_ID, BOS_ID, 20, 21, EOS_ID], [9] * 5]


@given(st.lists(st.text(alphabet="ab \n", min_size=1, max_size=400), max_size=8))
def test_documents_are_the_file(blocks: list[str]) -> None:
    """Cutting loses nothing but the blank lines between documents and is the same every time."""
    file = SourceFile("some/module.py", "\n\n\n".join(blocks))
    parts = documents(file)
    assert parts == documents(file)
    assert "".join("".join(parts).split()) == "".join(file.text.split())


def test_orthogonalised_matrices_have_equal_singular_values() -> None:
    generator = torch.Generator().manual_seed(1)
    values = orthogonalise(torch.randn(2, 6, 9, generator=generator))
    singular = torch.linalg.svdvals(values)
    assert float(singular.min()) > 0.5  # the five steps aim at 1 and stop within 0.5 .. 1.5 by design
    assert float(singular.max()) < 1.5


def test_distinct_share_tells_a_loop_from_a_text() -> None:
    assert distinct_share(list(range(50))) == 1.0
    assert distinct_share([1, 2, 3] * 20) == pytest.approx(3 / 57)
    assert distinct_share([1, 2]) == 1.0


def test_held_out_files_are_the_same_for_everybody() -> None:
    names = [f"package/module_{number}.py" for number in range(400)]
    held = [name for name in names if SourceFile(name, "").is_held_out]
    assert len(held) == pytest.approx(10, abs=9)
    assert held == [name for name in names if SourceFile(name, "other text").is_held_out]


def test_the_taps_of_training_are_those_of_the_official_layout() -> None:
    """The exported layout cannot write taps down, so both sides must agree on them."""
    for num_layers in (8, 16, 34):
        shape = TeacherShape(num_layers=num_layers)
        assert shape.aux_layers == default_aux_layers(num_layers)
    assert TeacherShape().aux_layers == (2, 8, 13)
