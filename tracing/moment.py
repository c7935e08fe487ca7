"""A place in a run: `prompt:turn:step:stage:node`, e.g. `0:1:12:verify:7`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tracing.errors import UsageError

STAGES: Final = ("prefill", "draft", "tensorize", "verify", "accept", "commit")


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """Coordinates of one thing in a run; later parts may be left out.

    Attributes:
        prompt_id: Prompt number from 0.
        turn: Turn of that prompt from 0.
        step: Step of that turn from 0.
        stage: One of `STAGES`, or empty.
        node: Node of the tree, or None.
    """

    prompt_id: int
    turn: int = 0
    step: int = 0
    stage: str = ""
    node: int | None = None

    @property
    def place(self) -> tuple[int, int, int]:
        """Prompt, turn and step."""
        return self.prompt_id, self.turn, self.step

    @property
    def stage_number(self) -> int:
        """Number of the stage in the order of `STAGES`; what names no stage comes last."""
        return STAGES.index(self.stage) if self.stage in STAGES else len(STAGES)

    def __str__(self) -> str:
        """Return the form that people paste and `specwb view` opens."""
        text = f"{self.prompt_id}:{self.turn}:{self.step}"
        if self.stage:
            text += f":{self.stage}"
            if self.node is not None:
                text += f":{self.node}"
        return text

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Moment:
        """Return the step that a row records."""
        return cls(int(row["prompt_id"]), int(row["turn"]), int(row["step"]))

    def at(self, stage: str, node: int | None = None) -> Moment:
        """Return a stage of the same step, and a node of it."""
        return replace(self, stage=stage, node=node)

    @classmethod
    def parse(cls, text: str) -> Moment:
        """Read the form that `str()` writes.

        Raises:
            UsageError: Not `prompt[:turn[:step[:stage[:node]]]]`.
        """
        parts = text.strip().split(":")
        expected = f"moment should be prompt:turn:step[:stage[:node]], got {text!r}"
        if not 1 <= len(parts) <= 5:
            raise UsageError(expected)
        stage = parts[3] if len(parts) > 3 else ""
        if stage and stage not in STAGES:
            raise UsageError(f"{expected}; stages are {', '.join(STAGES)}")
        try:
            prompt_id, turn, step = (int(part) for part in (*parts[:3], "0", "0")[:3])
            node = int(parts[4]) if len(parts) > 4 else None
        except ValueError:
            raise UsageError(expected) from None
        if min(prompt_id, turn, step, node or 0) < 0:
            raise UsageError(expected)
        return cls(prompt_id, turn, step, stage, node)
