"""The shipped suite of held-out prompts: all of it, an evenly spread part, texts cut to a length."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from tracing.errors import ModelMissingError

SUITES: Final = ("full", "code", "chat", "fresh")
"""Shipped suites: 80 code completions and 80 two-turn chats (240 turns), or one kind; `fresh`: prompts after
which the shipped teacher does not repeat itself."""


@dataclass(frozen=True, slots=True)
class SuitePrompt:
    """One prompt.

    Attributes:
        kind: `code`, `chat`, `length` or `fresh`.
        source: The file it comes from.
        turns: User texts, one per turn.
    """

    id: str
    kind: str
    source: str
    turns: tuple[str, ...]


def shipped_prompts() -> list[SuitePrompt]:
    """Return all prompts of the shipped suite, the long texts of the sweep included.

    Raises:
        ModelMissingError: The package was installed without its data.
    """
    return _read("heldout.jsonl")


def _read(name: str) -> list[SuitePrompt]:
    path = Path(str(files("workbench.bench").joinpath("suites", name)))
    if not path.exists():
        raise ModelMissingError(f"{path} is missing; install the package again")
    return [
        SuitePrompt(entry["id"], entry["kind"], entry["source"], tuple(entry["turns"]))
        for entry in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    ]


def suite_named(name: str) -> list[SuitePrompt]:
    """Return one of `SUITES`."""
    if name == "fresh":
        return _read("fresh.jsonl")
    kinds = ("code", "chat") if name == "full" else (name,)
    return [prompt for prompt in shipped_prompts() if prompt.kind in kinds]


def spread_over(prompts: Sequence[SuitePrompt], num_turns: int | None) -> list[SuitePrompt]:
    """Return evenly spread prompts with so many turns in all; all of them for None or too large a number."""
    total = sum(len(prompt.turns) for prompt in prompts)
    if num_turns is None or num_turns >= total:
        return list(prompts)
    count = max(1, -(-len(prompts) * num_turns // total))
    while True:
        chosen = [prompts[(2 * i + 1) * len(prompts) // (2 * count)] for i in range(count)]
        if sum(len(prompt.turns) for prompt in chosen) >= num_turns:
            return list(_cut(chosen, num_turns))
        count += 1


def _cut(prompts: Sequence[SuitePrompt], num_turns: int) -> Iterator[SuitePrompt]:
    for prompt in prompts:
        turns = prompt.turns[:num_turns]
        if turns:
            yield SuitePrompt(prompt.id, prompt.kind, prompt.source, turns)
        num_turns -= len(turns)


def describe(prompts: Sequence[SuitePrompt], name: str) -> dict[str, Any]:
    """Return the manifest's entry of a suite."""
    return {
        "name": name,
        "prompts": len(prompts),
        "turns": sum(len(prompt.turns) for prompt in prompts),
        "kinds": sorted({prompt.kind for prompt in prompts}),
    }
