"""Acceptance on held-out prompts, by the reference path over the exported 16-bit weights."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from examples.tiny_pangu.heldout import Prompt, further_prompts, held_out_prompts
from examples.tiny_pangu.recipe import Recipe, Workspace
from examples.tiny_pangu.teacher_model import load_teacher
from examples.tiny_pangu.train_teacher import held_out_loss, read_stream
from reference.path import make_path
from tracing.models import Tokenizer as WordTokenizer
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, NullWatch
from workbench.checkpoints.load import load_pair

NOT_REPETITIVE = 0.5
"""An output with at least this share of distinct 4-grams does not just repeat itself."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One prompt.

    Attributes:
        num_accepted: Accepted draft nodes of every uncut step.
        distinct: Share of distinct 4-grams in the output.
        stop_reason: `eos` or `length`.
        text, token_ids: The output.
    """

    id: str
    kind: str
    source: str
    num_accepted: list[int]
    distinct: float
    stop_reason: str
    text: str
    token_ids: tuple[int, ...] = ()

    @property
    def mean_accepted(self) -> float:
        """Mean over uncut steps; 0 when there is none."""
        return statistics.fmean(self.num_accepted) if self.num_accepted else 0.0


def distinct_share(token_ids: Sequence[int], length: int = 4) -> float:
    """Return the share of distinct n-grams; 1 for outputs too short to repeat."""
    grams = [tuple(token_ids[i : i + length]) for i in range(len(token_ids) - length + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def decode(path: DecodePath, prompt_ids: list[int], max_new_tokens: int) -> tuple[list[int], list[int], str]:
    """Run one turn; return emitted tokens, accepted nodes of every uncut step, and why it stopped."""
    stages, state = path.stages, path.begin(NullWatch())
    if not (stages.prefill and stages.draft and stages.tensorize):
        raise ValueError("this path lacks a stage")
    if not (stages.verify and stages.accept and stages.commit):
        raise ValueError("this path lacks a stage")
    root = int(stages.prefill(state, prompt_ids).context_token_ids[-1])
    emitted, counts, stop = [root], [], None
    while stop is None and len(emitted) < max_new_tokens:
        tree = stages.tensorize(state, stages.draft(state))
        verified = stages.verify(state, tree)
        accepted = stages.accept(state, tree, verified, max_new_tokens - len(emitted))
        stages.commit(state, tree, verified, accepted)
        emitted += accepted.emitted_token_ids.tolist()
        stop = accepted.stop_reason
        if stop is None:
            counts.append(len(accepted.accepted_nodes))
    return emitted, counts, stop or "length"


def measure_prompts(
    path: DecodePath, tokenizer: WordTokenizer, prompts: Sequence[Prompt], max_new_tokens: int
) -> list[Measured]:
    """Decode every prompt once."""
    results, begun = [], time.monotonic()
    for prompt in prompts:
        emitted, counts, stop = decode(path, tokenizer.encode(prompt.text), max_new_tokens)
        text = tokenizer.decode(emitted)
        share = distinct_share(emitted)
        results.append(
            Measured(prompt.id, prompt.kind, prompt.source, counts, share, stop, text, tuple(emitted))
        )
        spent = f"{time.monotonic() - begun:.0f} s"
        print(
            f"{prompt.id} accepted {results[-1].mean_accepted:.2f} distinct {share:.2f} {spent}", flush=True
        )
    return results


def summary(results: Sequence[Measured]) -> dict[str, float | int]:
    """Return mean and spread: over all steps, and over prompts."""
    steps = [count for result in results for count in result.num_accepted]
    means = sorted(result.mean_accepted for result in results if result.num_accepted)
    if len(means) < 2:
        return {"num_prompts": len(means), "num_steps": len(steps)}
    deciles = statistics.quantiles(means, n=10, method="inclusive")
    return {
        "num_prompts": len(means),
        "num_steps": len(steps),
        "mean_over_steps": round(statistics.fmean(steps), 3),
        "mean_over_prompts": round(statistics.fmean(means), 3),
        "stdev_over_prompts": round(statistics.stdev(means), 3),
        "p10": round(deciles[0], 2),
        "median": round(statistics.median(means), 2),
        "p90": round(deciles[8], 2),
        "min": round(means[0], 2),
        "max": round(means[-1], 2),
    }


def report(held: Sequence[Measured], further: Sequence[Measured]) -> dict[str, Any]:
    """Return the summaries; outputs that do not loop are rare, so further candidates add to that group."""
    varied = [result for result in held if result.distinct >= NOT_REPETITIVE]
    also_varied = [result for result in further if result.distinct >= NOT_REPETITIVE]
    return {
        "all": summary(held),
        "not_repetitive": summary(varied),
        "not_repetitive_with_further": summary([*varied, *also_varied]),
        "code": summary([result for result in held if result.kind == "code"]),
        "prose": summary([result for result in held if result.kind == "prose"]),
        "prompts": [asdict(result) for result in held],
        "further": [asdict(result) for result in further],
    }


@torch.no_grad()
def measure(recipe: Recipe, workspace: Workspace) -> None:
    """Measure with the default tree (60 nodes, depth 7, top-k 10) and write `measured.json`."""
    loaded = load_pair(workspace.exported / "teacher", workspace.exported / "drafter")
    settings = DecodeSettings()
    path = make_path(loaded.pair, settings, dtype="float32", rung="cached")
    tokenizer = Tokenizer.from_file(str(workspace.tokenizer))
    teacher = load_teacher(recipe.shape, torch.load(workspace.teacher, weights_only=True))
    held, further = (
        measure_prompts(path, loaded.tokenizer, prompts, settings.max_new_tokens)
        for prompts in (held_out_prompts(tokenizer), further_prompts(tokenizer))
    )
    data = {
        "settings": asdict(settings),
        "held_out_loss": round(held_out_loss(teacher, read_stream(workspace.held_tokens)), 4),
        **report(held, further),
    }
    workspace.measured.write_text(json.dumps(data, indent=1), encoding="utf-8")
    print(json.dumps({key: value for key, value in data.items() if isinstance(value, dict)}, indent=1))
