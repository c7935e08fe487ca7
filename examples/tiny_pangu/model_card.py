"""Write the model card from what the stages measured, so that no number in it is typed by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from examples.tiny_pangu.recipe import DrafterRound, Phase, Recipe, Workspace

TEMPLATE: Final = Path(__file__).with_name("model_card.md")
MEDUSA_TEMPLATE: Final = TEMPLATE.with_name("medusa_card.md")
DRAFT_MODEL_TEMPLATE: Final = TEMPLATE.with_name("draft_model_card.md")
FURTHER: Final = ("medusa", "draft_model")
"""Drafters with a card of their own."""


def _phases(phases: tuple[Phase, ...]) -> str:
    return ", then ".join(
        f"{phase.steps} steps of {phase.batch_size} x {phase.num_tokens}" for phase in phases
    )


def _round(number: int, part: DrafterRound) -> str:
    text = " and the further text" if part.reads_further else ""
    return (
        f"  {number}. {_phases(part.phases)}; training-time test of {part.rollout_steps} steps with loss "
        f"weights {part.rollout_decay}^j; {part.generated_share:.0%} generated text{text}, the rest corpus; "
        f"Muon at {part.muon_lr}, AdamW at {part.adam_lr}, falling after {part.hold:.0%} of the round.\n"
    )


def _row(name: str, part: dict[str, Any]) -> str:
    columns = ("num_prompts", "mean_over_steps", "mean_over_prompts", "stdev_over_prompts")
    values = [str(part.get(key, "-")) for key in (*columns, "p10", "median", "p90", "min", "max")]
    return f"| {name} | {' | '.join(values)} |\n"


def _digests(directory: Path, *, without: tuple[str, ...] = ()) -> str:
    files = sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".md" and path.parent.name not in without
    )
    lines = [
        f"* `{path.relative_to(directory)}`: `{hashlib.sha256(path.read_bytes()).hexdigest()}`"
        for path in files
    ]
    return "\n".join(lines) + "\n"


def model_card(recipe: Recipe, workspace: Workspace) -> str:
    """Return the text of the card."""
    facts = json.loads(workspace.corpus_facts.read_text(encoding="utf-8"))
    measured = json.loads(workspace.measured.read_text(encoding="utf-8"))
    shape, short, long = recipe.shape, recipe.generate_short, recipe.generate_long
    names = {
        "all": "all",
        "code": "code",
        "prose": "prose",
        "not_repetitive": "not repetitive, of these",
        "not_repetitive_with_further": "not repetitive, with further candidates",
    }
    num_prompts = len(measured["prompts"])
    return TEMPLATE.read_text(encoding="utf-8").format(
        shape=shape,
        recipe=recipe,
        facts=facts,
        measured=measured,
        teacher_steps=_phases(recipe.teacher_phases),
        drafter_rounds="".join(_round(number, each) for number, each in enumerate(recipe.drafter_rounds, 1)),
        further=recipe.generate_further.steps * recipe.generate_further.batch_size,
        prompt_lens=" or ".join(map(str, recipe.further_prompt_lens)),
        generated=" and ".join(f"{p.steps * p.batch_size} x {p.num_tokens} tokens" for p in (short, long)),
        aux_layers=", ".join(str(layer) for layer in shape.aux_layers),
        num_prompts=num_prompts,
        num_further=len(measured["further"]),
        rows="".join(_row(name, measured[key]) for key, name in names.items()),
        num_looping=num_prompts - measured["not_repetitive"]["num_prompts"],
        digests=_digests(workspace.exported, without=FURTHER),
    )


def further_card(recipe: Recipe, workspace: Workspace, proposer: str) -> str:
    """Return the text of the card of one of `FURTHER`."""
    measured = json.loads(workspace.measured_further(proposer).read_text(encoding="utf-8"))
    names = {"all": "all", "code": "code", "prose": "prose", "not_repetitive": "not repetitive, of these"}
    rows = "".join(_row(name, measured[key]) for key, name in names.items())
    shared = {
        "rows": rows,
        "recipe": recipe,
        "measured": measured,
        "digests": _digests(workspace.exported / proposer),
        "size": _size(workspace.exported / proposer),
    }
    if proposer == "medusa":
        return MEDUSA_TEMPLATE.read_text(encoding="utf-8").format(
            **shared,
            steps=_phases(recipe.medusa_phases),
            heads="".join(
                f"| {number} | {number + 2} | {head['top1']:.1%} | {head['top10']:.1%} |\n"
                for number, head in enumerate(measured["heads"])
            ),
        )
    return DRAFT_MODEL_TEMPLATE.read_text(encoding="utf-8").format(
        **shared,
        shape=recipe.draft_model,
        steps="; again ".join(_phases(phases) for phases in recipe.draft_model_rounds),
    )


def _size(directory: Path) -> str:
    return f"{sum(path.stat().st_size for path in directory.iterdir() if path.is_file()) / 1e6:.2f} MB"


def write_further_cards(recipe: Recipe, workspace: Workspace) -> None:
    """Write `README.md` into the folder of each of `FURTHER`."""
    for proposer in FURTHER:
        text = further_card(recipe, workspace, proposer)
        (workspace.exported / proposer / "README.md").write_text(text, encoding="utf-8")


def write_model_card(recipe: Recipe, workspace: Workspace) -> None:
    """Write `README.md` beside the exported pair."""
    (workspace.exported / "README.md").write_text(model_card(recipe, workspace), encoding="utf-8")
