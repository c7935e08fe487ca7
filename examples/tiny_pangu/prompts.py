"""Choose the shipped prompts, openly: among held-out candidates, the ones whose output repeats least.

A teacher of this size loops under greedy decoding. The rule below avoids showing only loops: of all
candidates whose output has at least `MIN_OUTPUT` characters, take the one with the largest share of distinct
4-grams; ties go to the earlier candidate. Acceptance plays no part in the choice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer

from examples.tiny_pangu.heldout import Prompt, further_prompts, held_out_prompts, long_prompts, write_prompts
from examples.tiny_pangu.measure import Measured, measure_prompts
from examples.tiny_pangu.recipe import Recipe, Workspace
from reference.path import make_path
from tracing.settings import DecodeSettings
from workbench.checkpoints.load import load_pair

MIN_OUTPUT: Final = 100
"""Characters: an output that ends at once shows nothing."""

NUM_LONG_CANDIDATES: Final = 6


def least_repetitive(results: Sequence[Measured]) -> Measured:
    """Return the result with the largest share of distinct 4-grams among those of some length."""
    long_enough = [result for result in results if len(result.text) >= MIN_OUTPUT]
    return max(long_enough or results, key=lambda result: result.distinct)


def _measured(workspace: Workspace) -> list[Measured]:
    data = json.loads(workspace.measured.read_text(encoding="utf-8"))
    return [Measured(**entry) for part in ("prompts", "further") for entry in data[part]]


@torch.no_grad()
def choose_prompts(_recipe: Recipe, workspace: Workspace) -> None:
    """Write `heldout.jsonl` and the four shipped prompts."""
    tokenizer = Tokenizer.from_file(str(workspace.tokenizer))
    held_out = held_out_prompts(tokenizer)
    candidates = {prompt.id: prompt for prompt in [*held_out, *further_prompts(tokenizer)]}
    results = _measured(workspace)
    ranked = sorted(results, key=lambda result: -result.distinct)
    chosen = {kind: least_repetitive([r for r in results if r.kind == kind]) for kind in ("code", "prose")}
    second = [candidates[r.id] for r in ranked if r.kind == "code" and r.id != chosen["code"].id][:2]
    workspace.prompts.mkdir(exist_ok=True)
    write_prompts(workspace.prompts / "heldout.jsonl", held_out)
    for kind, result in chosen.items():
        _write_text(workspace.prompts / f"{kind}.txt", candidates[result.id].text)
    _write_text(workspace.prompts / "long.txt", _choose_long(workspace, long_prompts(tokenizer)).text)
    entry = {"prompt": second[0].text, "turns": [f"\n\n\n{second[1].text}"]}
    _write_text(workspace.prompts / "two_turns.jsonl", json.dumps(entry, ensure_ascii=False) + "\n")


def _choose_long(workspace: Workspace, prompts: Sequence[Prompt]) -> Prompt:
    loaded = load_pair(workspace.exported / "teacher", workspace.exported / "drafter")
    settings = DecodeSettings()
    path = make_path(loaded.pair, settings, dtype="float32", rung="cached")
    tried = prompts[:NUM_LONG_CANDIDATES]
    best = least_repetitive(measure_prompts(path, loaded.tokenizer, tried, settings.max_new_tokens))
    return next(prompt for prompt in tried if prompt.id == best.id)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
