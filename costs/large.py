"""What judging costs on a teacher of a size that people run: random weights in the shape of openPangu-1B."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from costs.kept import memory_bytes
from costs.row import Cost, Goal, Row
from costs.workshop import Workshop
from tracing.errors import EnvironmentProblemError
from tracing.models import DrafterConfig, ModelPair, RopeConfig, TeacherConfig

if TYPE_CHECKING:
    import torch

    from tracing.stages import DecodePath
    from workbench.lockstep.truth.reference_runner import ReferenceRunner

RATIO: Final = "large.ratio"
GOAL: Final = Goal(8)
MEMORY: Final = 15
"""Gigabytes: the path's weights twice and the samples' in bfloat16, the truth's in float32."""
DTYPE: Final = "bfloat16"
PROMPT: Final = 64
NEW_TOKENS: Final = 17
"""Of the turn; one in sixteen steps looks for small mistakes, the first is one of them."""
NOISE: Final = 0.2
SIZES: Final[dict[str, Any]] = {
    "vocab_size": 153_376,
    "hidden_size": 1536,
    "intermediate_size": 6144,
    "num_heads": 12,
    "num_kv_heads": 6,
    "head_dim": 128,
    "rms_norm_eps": 1e-5,
    "rope": RopeConfig(theta=4e6),
    "max_position_embeddings": 4096,
    "qkv_bias": True,
    "o_bias": True,
}
TEACHER: Final = TeacherConfig(
    **SIZES, model_type="PanguEmbedded", num_layers=26, tie_word_embeddings=True, hf_config={}
)
DRAFTER: Final = DrafterConfig(
    **SIZES, target_hidden_size=1536, draft_vocab_size=32_000, aux_layers=(2, 13, 23)
)


def random_pair() -> ModelPair:
    """Return a pair of these sizes: 1.16 billion parameters of the teacher, one layer of the drafter."""
    import torch

    random = torch.Generator().manual_seed(7)
    hidden, vocab = TEACHER.hidden_size, TEACHER.vocab_size
    embedding = torch.randn(vocab, hidden, generator=random).bfloat16()
    teacher = {
        "model.embed_tokens.weight": embedding,
        "lm_head.weight": embedding,
        "model.norm.weight": torch.ones(hidden).bfloat16(),
    }
    for layer in range(TEACHER.num_layers):
        teacher |= _block(f"model.layers.{layer}", TEACHER, hidden, random)
    drafted = torch.randperm(vocab, generator=random)[: DRAFTER.draft_vocab_size].sort().values
    drafter = {
        "embed_tokens.weight": embedding,
        "fc.weight": (torch.randn(hidden, 3 * hidden, generator=random) * (3 * hidden) ** -0.5).bfloat16(),
        "midlayer.hidden_norm.weight": torch.ones(hidden).bfloat16(),
        "norm.weight": torch.ones(hidden).bfloat16(),
        "lm_head.weight": embedding[drafted].clone(),
    }
    drafter |= _block("midlayer", DRAFTER, 2 * hidden, random)
    return ModelPair(
        teacher=TEACHER,
        teacher_weights=teacher,
        drafter=DRAFTER,
        drafter_weights=drafter,
        target_from_draft=drafted,
        eos_token_ids=frozenset(),
    )


def _block(
    prefix: str, config: TeacherConfig | DrafterConfig, width: int, random: torch.Generator
) -> dict[str, Any]:
    import torch

    hidden, inner = config.hidden_size, config.intermediate_size
    own, shared = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    shapes = {
        **{
            f"self_attn.{name}_proj": (rows, width)
            for name, rows in zip("qkv", (own, shared, shared), strict=True)
        },
        "self_attn.o_proj": (hidden, own),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    made = {
        f"{prefix}.{name}.weight": torch.ones(hidden)
        for name in ("input_layernorm", "post_attention_layernorm")
    }
    for name, (rows, columns) in shapes.items():
        gain = NOISE if name.endswith(("o_proj", "down_proj")) else 1.0
        made[f"{prefix}.{name}.weight"] = torch.randn(rows, columns, generator=random) * gain * columns**-0.5
        if name.startswith("self_attn"):
            made[f"{prefix}.{name}.bias"] = torch.randn(rows, generator=random) * 0.2 * gain
    return {name: weight.bfloat16() for name, weight in made.items()}


def _measure(workshop: Workshop) -> Iterator[Row]:
    from workbench.npu.bootstrap import bootstrap

    _require_memory()
    bootstrap("auto")
    from costs.variants import Variant
    from tracing.settings import DecodeSettings
    from workbench.fused.path import make_path
    from workbench.lockstep.truth.reference_runner import ReferenceRunner

    workshop.say("making a pair of 1.16 billion parameters")
    pair, settings = random_pair(), DecodeSettings(max_new_tokens=NEW_TOKENS)
    path = make_path(pair, settings, dtype=DTYPE)
    prompt = list(range(1, PROMPT + 1))
    bare = Variant(path)
    bare.begin(prompt, NEW_TOKENS)
    bare.step()  # the first pays for what is made once
    workshop.say("judging it")
    runner = ReferenceRunner(pair, settings, path_dtype=DTYPE, rung="cached")
    start = time.process_time()
    steps = _judged(runner, path, prompt, workshop.folder / "large")
    judged = time.process_time() - start
    bare.begin(prompt, NEW_TOKENS * 20)
    start = time.process_time()
    for _ in range(steps):
        bare.step()
    how = (
        f"staged lockstep of a turn of {steps} steps behind {PROMPT} tokens, judged and recorded, prefill "
        "included and the reference made before, over the same steps unobserved; "
        f"random weights shaped as openPangu-Embedded-1B, {DTYPE}, trees of "
        f"{settings.tree_nodes} nodes; processor time, once"
    )
    yield Row(name=RATIO, value=judged / (time.process_time() - start), unit="", goal=GOAL, how=how)


def _judged(runner: ReferenceRunner, path: DecodePath, prompt: list[int], folder: Path) -> int:
    """Judge one turn; return its number of steps."""
    from invariants.context import RunContext
    from reference.drafters import drafter_of
    from tracing.recorder import RunWriter
    from workbench.judge.verdict import Tally
    from workbench.lockstep.session.job import LockstepOptions
    from workbench.lockstep.session.turns import Turn
    from workbench.lockstep.staged.run import judge_turns

    pair, settings = runner.truth.pair, runner.settings
    with RunWriter(folder, {"lockstep": "staged"}) as writer:
        staged = judge_turns(
            path,
            runner,
            pair,
            LockstepOptions(settings=settings),
            [Turn(0, 0, lambda before: [*before, *prompt])],
            writer=writer,
            context=RunContext.from_settings(settings, pair, reads=drafter_of(pair).settings),
            tally=Tally(chain=runner.is_chain),
            dtype=DTYPE,
        )
    return staged.finished[-1].step


def _require_memory() -> None:
    """Refuse a machine that would swap.

    Raises:
        EnvironmentProblemError: Less memory is free, or it cannot be told.
    """
    free = memory_bytes("MemAvailable")
    if free is None:
        raise EnvironmentProblemError("how much memory is free is not known here")
    if free < MEMORY * 10**9:
        raise EnvironmentProblemError(f"it takes {MEMORY} GB of memory, {free / 1e9:.0f} GB are free")


COSTS: Final = (Cost("large", {RATIO: GOAL}, _measure),)
