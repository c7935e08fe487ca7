"""A recorded run to replay, and what a replay answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.rewrite import Row

STEP = 3


@dataclass(frozen=True)
class Recorded:
    """A run of `specwb diff`, and the models that made it."""

    run: Path
    models: tuple[str, ...]
    answer: dict[str, Any]


def at(step: int, change: Callable[[Row], Row], path: str = "fused") -> Callable[[str, Row], Row]:
    return lambda name, row: change(row) if (name, row["step"]) == (path, step) else row


def replayed(answer: Any) -> dict[str, Any]:
    assert answer.out, answer.err
    return json.loads(answer.out)


def rules_at(summary: dict[str, Any]) -> set[tuple[int, str]]:
    return {(finding["step"], finding["rule"]) for finding in summary["findings"]}
