"""Let the teacher write the text that the drafter learns from, as it will decode: loops and all."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from examples.tiny_pangu.layers import rotate, split_heads
from examples.tiny_pangu.recipe import BOS_ID, EOS_ID, Phase, Recipe, Workspace
from examples.tiny_pangu.teacher_model import Attention, Teacher, load_teacher
from examples.tiny_pangu.train_teacher import read_stream


class CachedTeacher:
    """The teacher with a KV cache for a batch of equally long rows, matrices in bfloat16.

    Args:
        teacher: Trained weights, float32; a bfloat16 copy of each matrix is made.
        batch_size, max_tokens: Size of the cache.
    """

    def __init__(self, teacher: Teacher, batch_size: int, max_tokens: int) -> None:
        shape = teacher.shape
        self.teacher = teacher
        self.cache = torch.zeros(
            (shape.num_layers, 2, batch_size, shape.num_kv_heads, max_tokens, shape.head_dim)
        )
        self.matrices = {
            name: parameter.detach().bfloat16() for name, parameter in teacher.named_parameters()
        }
        self.length = 0

    def _linear(self, name: str, values: Tensor) -> Tensor:
        return nn.functional.linear(
            values.bfloat16(), self.matrices[f"{name}.weight"], self.matrices.get(f"{name}.bias")
        )

    def forward(self, token_ids: Tensor) -> Tensor:
        """Append `[B, n]` tokens; return logits `[B, V]` after the last one."""
        num_tokens, begin = token_ids.shape[1], self.length
        self.length += num_tokens
        bias = self.teacher.bias[begin : self.length, : self.length]
        stream = self.teacher.embed_tokens(token_ids).float()
        for number, layer in enumerate(self.teacher.blocks):
            prefix = f"layers.{number}"
            normed = layer.input_layernorm(stream)
            stream = stream + self._attend(number, layer.self_attn, normed, begin, bias)
            normed = layer.post_attention_layernorm(stream)
            gate = nn.functional.silu(self._linear(f"{prefix}.mlp.gate_proj", normed))
            gated = gate * self._linear(f"{prefix}.mlp.up_proj", normed)
            stream = stream + self._linear(f"{prefix}.mlp.down_proj", gated).float()
        return self._linear("embed_tokens", self.teacher.norm(stream[:, -1])).float()

    def _attend(self, number: int, attention: Attention, normed: Tensor, begin: int, bias: Tensor) -> Tensor:
        shape, prefix = attention.shape, f"layers.{number}.self_attn"
        cos, sin = self.teacher.cos[begin : self.length], self.teacher.sin[begin : self.length]
        query = split_heads(self._linear(f"{prefix}.q_proj", normed), shape.num_heads, shape.head_dim)
        key = split_heads(self._linear(f"{prefix}.k_proj", normed), shape.num_kv_heads, shape.head_dim)
        value = split_heads(self._linear(f"{prefix}.v_proj", normed), shape.num_kv_heads, shape.head_dim)
        self.cache[number, 0, :, :, begin : self.length] = rotate(key.float(), cos, sin)
        self.cache[number, 1, :, :, begin : self.length] = value
        keys, values = self.cache[number, :, :, :, : self.length]
        group = shape.num_heads // shape.num_kv_heads
        batch_size, num_tokens = normed.shape[:2]
        # the heads of one group share keys: as rows of one product they read the cache once
        rows = rotate(query.float(), cos, sin).reshape(batch_size, -1, group * num_tokens, shape.head_dim)
        scores = rows @ keys.transpose(-1, -2) * shape.head_dim**-0.5 + bias.repeat(group, 1)
        mixed = (scores.softmax(-1) @ values).view(batch_size, -1, num_tokens, shape.head_dim)
        merged = mixed.transpose(1, 2).reshape(batch_size, num_tokens, -1)
        return self._linear(f"{prefix}.o_proj", merged).float()


@dataclass
class Writer:
    """Chooses next tokens row by row.

    Attributes:
        corpus: Training stream.
        starts: Positions of `<s>` in it that have enough text after them.
        generator: The only source of randomness.
        forced: Tokens still to be written, per row: a new document start after an end of document.
    """

    corpus: Tensor
    starts: Tensor
    generator: torch.Generator
    recipe: Recipe
    forced: list[list[int]]

    def prompts(self, batch_size: int, num_tokens: int) -> Tensor:
        """Return `[B, n]` training text; every second row starts at a document."""
        anywhere = torch.randint(0, len(self.corpus) - num_tokens, (batch_size,), generator=self.generator)
        picked = torch.randint(0, len(self.starts), (batch_size,), generator=self.generator)
        begins = torch.where(torch.arange(batch_size) % 2 == 0, anywhere, self.starts[picked])
        return self.corpus[begins[:, None] + torch.arange(num_tokens)]

    def choose(self, logits: Tensor, is_greedy: Tensor) -> Tensor:
        """Return the next token of every row, `[B, 1]`."""
        sampled = torch.multinomial(
            (logits / self.recipe.temperature).softmax(-1), 1, generator=self.generator
        )
        chosen = torch.where(is_greedy[:, None], logits.argmax(-1, keepdim=True), sampled)
        for row, queue in enumerate(self.forced):
            if queue:
                chosen[row, 0] = queue.pop(0)
            elif int(chosen[row, 0]) == EOS_ID:
                queue.extend(self._new_start())
        return chosen

    def _new_start(self) -> list[int]:
        begin = int(self.starts[int(torch.randint(0, len(self.starts), (1,), generator=self.generator))])
        tokens: list[int] = self.corpus[begin : begin + self.recipe.forced_len].tolist()
        return tokens


def write_batch(teacher: Teacher, writer: Writer, phase: Phase, prompt_len: int) -> Tensor:
    """Return one batch `[B, T]`: prompt, then what the teacher wrote."""
    engine = CachedTeacher(teacher, phase.batch_size, phase.num_tokens)
    writer.forced = [[] for _ in range(phase.batch_size)]
    is_greedy = torch.arange(phase.batch_size) < round(phase.batch_size * writer.recipe.greedy_share)
    written = [writer.prompts(phase.batch_size, prompt_len)]
    logits = engine.forward(written[0])
    while engine.length < phase.num_tokens:
        chosen = writer.choose(logits, is_greedy)
        written.append(chosen)
        logits = engine.forward(chosen)
    return torch.cat(written, 1)


@dataclass(frozen=True, slots=True)
class Job:
    """One file of generated text; jobs are independent of each other and may run side by side."""

    path: Path
    phase: Phase
    prompt_lens: tuple[int, ...]
    greedy_share: float
    seed: int


def jobs(recipe: Recipe, workspace: Workspace) -> tuple[Job, Job]:
    """Return the short and the long job."""
    short, long = (recipe.generated_prompt_len,), (recipe.generated_long_prompt_len,)
    share, seed = recipe.greedy_share, recipe.seed
    return (
        Job(workspace.generated, recipe.generate_short, short, share, seed + 7),
        Job(workspace.generated_long, recipe.generate_long, long, share, seed + 8),
    )


def further_job(recipe: Recipe, workspace: Workspace) -> Job:
    """Return the job of the text that the drafter alone reads."""
    lens, share = recipe.further_prompt_lens, recipe.further_greedy_share
    return Job(workspace.generated_further, recipe.generate_further, lens, share, recipe.seed + 9)


@torch.no_grad()
def run_job(recipe: Recipe, workspace: Workspace, job: Job) -> None:
    """Write one file, unless it is there."""
    if job.path.exists():
        return
    teacher = load_teacher(recipe.shape, torch.load(workspace.teacher, weights_only=True))
    corpus = read_stream(workspace.train_tokens)
    longest = max(*job.prompt_lens, recipe.forced_len)
    starts = torch.nonzero(corpus[:-longest] == BOS_ID).flatten()
    generator = torch.Generator().manual_seed(job.seed)
    writer = Writer(corpus, starts, generator, replace(recipe, greedy_share=job.greedy_share), [])
    begun, batches = time.monotonic(), []
    for number in range(job.phase.steps):
        prompt_len = job.prompt_lens[number % len(job.prompt_lens)]
        batches.append(write_batch(teacher, writer, job.phase, prompt_len))
        done = f"{number + 1}/{job.phase.steps} {time.monotonic() - begun:.0f} s"
        print(f"generate {job.path.name} {done}", flush=True)
    np.save(job.path, torch.cat(batches).numpy().astype(np.uint16))


def generate(recipe: Recipe, workspace: Workspace) -> None:
    """Write the text that all drafters learn from, short and long."""
    for job in jobs(recipe, workspace):
        run_job(recipe, workspace, job)


def generate_further(recipe: Recipe, workspace: Workspace) -> None:
    """Write the text that the drafter alone reads."""
    run_job(recipe, workspace, further_job(recipe, workspace))
