"""Every number of the recipe in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

SPECIAL_TOKENS: Final = ("<unk>", "<s>", "</s>", "[unused9]", "[unused10]")
UNK_ID: Final = 0
BOS_ID: Final = 1
EOS_ID: Final = 2


@dataclass(frozen=True, slots=True)
class TeacherShape:
    """Size of the teacher; the drafter borrows its width and heads."""

    vocab_size: int = 4096
    hidden_size: int = 256
    num_layers: int = 16
    num_heads: int = 4
    num_kv_heads: int = 2
    intermediate_size: int = 704
    rope_theta: float = 1.6e7
    rms_norm_eps: float = 1e-5
    max_positions: int = 1024

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_heads

    @property
    def aux_layers(self) -> tuple[int, int, int]:
        """Layers whose input the drafter sees."""
        return (2, self.num_layers // 2, self.num_layers - 3)


@dataclass(frozen=True, slots=True)
class Phase:
    """Optimizer steps at one batch shape."""

    steps: int
    batch_size: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class DrafterRound:
    """One round of drafter training; it begins with a fresh optimizer and schedule.

    Attributes:
        phases: Steps by batch shape.
        adam_lr, muon_lr: Peak learning rates.
        hold: Part of the round after which they fall.
        generated_share: Part of a batch that is generated text.
        rollout_steps: Draft steps simulated in training (training-time test).
        rollout_decay: Loss weight of each further draft step.
        reads_further: Whether the further text is read, too.
    """

    phases: tuple[Phase, ...]
    adam_lr: float = 1e-3
    muon_lr: float = 0.02
    hold: float = 0.3
    generated_share: float = 0.6
    rollout_steps: int = 6
    rollout_decay: float = 0.8
    reads_further: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """What was run for the shipped weights.

    Attributes:
        generate_further: Text for the drafter alone, on top of the short one.
        generated_prompt_len: Tokens of training text before each generated sequence.
        further_prompt_lens: The same of the further text, batch after batch in turn.
        greedy_share: Part of a generated batch that is greedy; the rest is sampled at `temperature`.
        further_greedy_share: The same of the further text.
        forced_len: Tokens of a new document start that follow a generated end of document.
        hard_share: Weight of the teacher's argmax in the drafter's target; the rest is its softmax.
        drafter_rounds: In their order.
        draft_model_rounds: Phases of each round; a round begins with a fresh optimizer and schedule.
        lesson_width: The teacher's best tokens that are kept after each token of generated text.
        medusa_stride: Step between the rows of a Medusa batch that are learnt from: neighbours are alike.
        medusa_decay: Loss weight of each further Medusa head.
        draft_model: Size of the smaller language model that drafts.
        draft_model_generated_share: Part of its batch that is generated text, learnt from the teacher's
            distributions; the rest is corpus, learnt as it is written.
    """

    shape: TeacherShape = TeacherShape()
    seed: int = 0
    teacher_phases: tuple[Phase, ...] = (Phase(1900, 16, 256), Phase(200, 4, 1024))
    teacher_adam_lr: float = 3e-3
    teacher_muon_lr: float = 0.02
    generate_short: Phase = Phase(8, 128, 256)
    generate_long: Phase = Phase(1, 48, 1024)
    generate_further: Phase = Phase(18, 128, 256)
    generated_prompt_len: int = 48
    generated_long_prompt_len: int = 640
    further_prompt_lens: tuple[int, ...] = (48, 96)
    greedy_share: float = 0.625
    further_greedy_share: float = 0.8
    temperature: float = 0.8
    forced_len: int = 24
    draft_vocab_size: int = 3072
    drafter_rounds: tuple[DrafterRound, ...] = (
        DrafterRound((Phase(1000, 8, 256), Phase(100, 2, 1024))),
        DrafterRound(
            (Phase(1700, 8, 256), Phase(50, 2, 1024)),
            adam_lr=6e-4,
            muon_lr=0.012,
            hold=0.0,
            generated_share=0.75,
            rollout_steps=7,
            rollout_decay=0.85,
            reads_further=True,
        ),
    )
    hard_share: float = 0.5
    lesson_width: int = 16
    medusa_num_heads: int = 5
    medusa_vocab_size: int = 2048
    medusa_phases: tuple[Phase, ...] = (Phase(2000, 16, 256), Phase(150, 4, 1024))
    medusa_stride: int = 4
    medusa_lr: float = 1e-3
    medusa_decay: float = 0.8
    draft_model: TeacherShape = TeacherShape(
        hidden_size=192, num_layers=2, num_heads=3, num_kv_heads=1, intermediate_size=384
    )
    draft_model_rounds: tuple[tuple[Phase, ...], ...] = ((Phase(800, 6, 256), Phase(50, 2, 1024)),)
    draft_model_adam_lr: float = 3e-3
    draft_model_muon_lr: float = 0.02
    draft_model_generated_share: float = 2 / 3


@dataclass(frozen=True, slots=True)
class Workspace:
    """Files that the stages leave for each other."""

    directory: Path

    @property
    def tokenizer(self) -> Path:
        """Byte-level BPE, without a post-processor."""
        return self.directory / "tokenizer.json"

    @property
    def train_tokens(self) -> Path:
        """Training stream, uint16."""
        return self.directory / "train.bin"

    @property
    def held_tokens(self) -> Path:
        """Held-out stream, uint16."""
        return self.directory / "held.bin"

    @property
    def corpus_facts(self) -> Path:
        """Counts, digests and the file split."""
        return self.directory / "corpus.json"

    @property
    def teacher(self) -> Path:
        """Teacher weights, float32."""
        return self.directory / "teacher.pt"

    @property
    def generated(self) -> Path:
        """Text of the teacher, uint16 `[sequences, 256]`."""
        return self.directory / "generated.npy"

    @property
    def generated_long(self) -> Path:
        """Long text of the teacher, uint16 `[sequences, 1024]`."""
        return self.directory / "generated_long.npy"

    @property
    def generated_further(self) -> Path:
        """More text of the teacher, for the drafter alone, uint16 `[sequences, 256]`."""
        return self.directory / "generated_further.npy"

    def drafter_round(self, number: int) -> Path:
        """Drafter weights after one round of training."""
        return self.directory / f"drafter.round{number}.pt"

    @property
    def drafter(self) -> Path:
        """Drafter weights, float32, with `d2t`."""
        return self.directory / "drafter.pt"

    def lessons(self, num_tokens: int) -> Path:
        """What the frozen teacher says about its own text of so many tokens a row."""
        return self.directory / f"lessons_{num_tokens}.pt"

    @property
    def medusa(self) -> Path:
        """Medusa heads, float32, with their token map."""
        return self.directory / "medusa.pt"

    def draft_model_round(self, number: int) -> Path:
        """Weights of the draft model after one round of training."""
        return self.directory / f"draft_model.round{number}.pt"

    @property
    def draft_model(self) -> Path:
        """Weights of the draft model, float32."""
        return self.directory / "draft_model.pt"

    @property
    def exported(self) -> Path:
        """The pair in the formats that are shipped."""
        return self.directory / "exported"

    @property
    def prompts(self) -> Path:
        """The held-out prompts and the four shipped ones."""
        return self.directory / "prompts"

    @property
    def measured(self) -> Path:
        """Acceptance on held-out prompts."""
        return self.directory / "measured.json"

    def measured_further(self, proposer: str) -> Path:
        """Acceptance of the Medusa heads or of the draft model."""
        return self.directory / f"measured_{proposer}.json"
