"""The teacher, its drafters and the prompts that ship with the package."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from tracing.errors import ModelMissingError

PACKAGE: Final = "workbench.checkpoints"
DRAFTERS: Final = {"eagle3": "drafter", "medusa": "medusa", "draft_model": "draft_model"}
"""Kind of drafter to its folder beside the shipped teacher."""
PROMPTS: Final = ("code.txt", "prose.txt", "long.txt", "two_turns.jsonl")


@dataclass(frozen=True, slots=True)
class HeldOutPrompt:
    """One prompt from files that the pair was not trained on.

    Attributes:
        id: `code-00` .. or `prose-00` ..
        kind: `code` or `prose`.
        source: Path inside the standard library.
        text: The prompt.
    """

    id: str
    kind: str
    source: str
    text: str


def _data(*parts: str) -> Path:
    path = Path(str(files(PACKAGE).joinpath(*parts)))
    if not path.exists():
        raise ModelMissingError(
            f"{path} is missing; the package was installed without its data, install it again"
        )
    return path


def shipped_pair_dirs(proposer: str = "eagle3") -> tuple[Path, Path]:
    """Return the directories of the shipped teacher and of its drafter of a kind, out of `DRAFTERS`.

    Raises:
        ModelMissingError: The package data is not there.
    """
    return _data("tiny_pangu", "teacher"), _data("tiny_pangu", DRAFTERS[proposer])


def shipped_prompt(name: str) -> Path:
    """Return the path of a shipped prompt, one of `PROMPTS`.

    Raises:
        ModelMissingError: No such prompt in the package.
    """
    return _data("prompts", name)


def held_out_prompts() -> list[HeldOutPrompt]:
    """Return the held-out prompts on which acceptance is measured.

    Raises:
        ModelMissingError: The package data is not there.
    """
    text = _data("prompts", "heldout.jsonl").read_text(encoding="utf-8")
    return [HeldOutPrompt(**json.loads(line)) for line in text.splitlines()]
