"""The cases that a command asks about: prompts and options, or a recorded run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tracing.errors import UsageError
from tracing.finding import has_error
from tracing.manifest_facts import table
from tracing.reader import Run
from tracing.settings import DecodeSettings
from workbench.lockstep.session.prompts import read_prompts
from workbench.lockstep.session.turns import plan_turns
from workbench.reduce.case import RunCase
from workbench.reduce.source import OpenedSource

SHIPPED = "tiny-pangu"
"""Name of the shipped models in a manifest."""


def cases_of_prompts(opened: OpenedSource, prompt_file: str, like: RunCase, *, chat: bool) -> list[RunCase]:
    """Return a case for each prompt of a file.

    Raises:
        UsageError: There is no prompt in it.
    """
    turns = plan_turns(read_prompts(prompt_file), opened.tokenizer, opened.pair, like.settings, chat=chat)
    numbers = dict.fromkeys(turn.prompt_id for turn in turns)
    return [
        replace(like, turns=tuple(tuple(turn.context([])) for turn in turns if turn.prompt_id == number))
        for number in numbers
    ]


def case_of_run(run: Run, settings: DecodeSettings, dtype: str) -> RunCase:
    """Return the case of a recorded run: the turn of its first finding, all before it as prompt.

    Raises:
        UsageError: It has no finding, or no longer holds the prompt.
    """
    findings = [each for each in run.findings if has_error([each])]
    if not findings:
        raise UsageError(f"{run.folder} has no finding; there is nothing to reduce")
    where = findings[0].moment
    prompt = _prompt(run, where.prompt_id, where.turn)
    stated = table(run.manifest, "options")
    return RunCase(
        turns=(prompt,),
        settings=settings,
        dtype=dtype,
        eager=tuple(_switches(run)),
        seed=int(stated.get("seed") or 0),
        generator=str(stated.get("generator") or "philox"),
    )


def _prompt(run: Run, prompt_id: int, turn: int) -> tuple[int, ...]:
    for name in run.path_names:
        for row in run.path(name):
            context = row.get("context_token_ids")
            if context is not None and (row["prompt_id"], row["turn"]) == (prompt_id, turn):
                return tuple(int(token) for token in context[:-1])
    raise UsageError(f"{run.folder} does not hold the prompt of turn {turn}; give --prompt in its place")


def _switches(run: Run) -> Sequence[str]:
    """Return the operators that our path ran eagerly, as it says of itself."""
    for name in run.path_names:
        switches: Any = table(run.path(name).entry, "info").get("switches")
        if isinstance(switches, dict) and isinstance(switches.get("eager"), list):
            return [str(each) for each in switches["eager"]]
    return ()


def models_of_run(run: Run) -> dict[str, Any]:
    """Return the models of a recorded run, by the names of `RunSource`; None for the shipped ones."""
    models = table(run.manifest, "models")
    named = {
        name: None if models.get(own) in (None, SHIPPED) else str(models[own])
        for name, own in (("model", "teacher"), ("draft", "drafter"))
    }
    proposer, weights = models.get("proposer") or "eagle3", models.get("weights") or "as-is"
    return {**named, "proposer": str(proposer), "weights": str(weights)}
