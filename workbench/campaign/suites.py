"""Prompts of a plan: shipped ones, a file, public suites, or texts of given lengths."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracing.errors import UsageError
from workbench.bench.published import humaneval_prompts, mt_bench_prompts
from workbench.bench.suite import SUITES, shipped_prompts, suite_named
from workbench.lockstep.session.prompts import read_prompts

FILES: Final = "a .jsonl or text file, humaneval:FILE, mt-bench:FILE, synthetic:COUNT:LENGTH,..."
FORMS: Final = f"{', '.join(SUITES)}, {FILES}"


@dataclass(frozen=True, slots=True)
class PlannedPrompt:
    """One prompt.

    Attributes:
        turns: User texts.
        cut: So many tokens of the first are decoded from; None for all.
    """

    name: str
    turns: tuple[str, ...]
    cut: int | None = None


def prompts_of(suite: str, seed: int) -> list[PlannedPrompt]:
    """Return the prompts that a suite's name stands for.

    Raises:
        UsageError: It stands for none, or its file is none of the kind.
    """
    kind, _, rest = suite.partition(":")
    if suite in SUITES:
        return [PlannedPrompt(each.id, each.turns) for each in suite_named(suite)]
    if kind == "synthetic" and rest:
        return _synthetic(rest, seed)
    if kind == "humaneval" and rest:
        return [PlannedPrompt(each.id, each.turns) for each in humaneval_prompts(Path(rest))]
    if kind == "mt-bench" and rest:
        return [PlannedPrompt(each.id, each.turns) for each in mt_bench_prompts(Path(rest))]
    if not Path(suite).exists():
        raise UsageError(f"a suite is one of {FORMS}; got {suite!r}")
    stem = Path(suite).stem
    return [PlannedPrompt(f"{stem}-{each.prompt_id}", each.texts) for each in read_prompts(suite)]


def _synthetic(rest: str, seed: int) -> list[PlannedPrompt]:
    """Return pieces of the shipped texts, begun anywhere, each to be cut to one of the lengths in turn."""
    count, _, lengths = rest.partition(":")
    tokens = lengths.split(",") if lengths else ["32"]
    if not all(each.isdecimal() and int(each) for each in (count, *tokens)):
        raise UsageError(f"a synthetic suite is synthetic:COUNT:LENGTH,LENGTH in tokens, got {rest!r}")
    text = "\n".join(turn for prompt in shipped_prompts() for turn in prompt.turns)
    draws = random.Random(seed)
    made = []
    for number in range(int(count)):
        length = int(tokens[number % len(tokens)])
        size = 16 * length  # characters; more than a token has
        start = draws.randrange(max(1, len(text) - size))
        made.append(PlannedPrompt(f"synthetic-{number}", (text[start : start + size],), length))
    return made
