"""What a folder of a reduction keeps of the search: where it began, and every outcome."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tracing.errors import EnvironmentProblemError, UsageError
from workbench.reduce.outcome import CaseOutcome

OUTCOMES: Final = "outcomes.jsonl"
BEGUN: Final = "begun.json"


class Outcomes:
    """Outcomes by the key of their case, in memory and in a file of lines.

    Args:
        file: Where each is appended; None keeps them in memory alone.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._known: dict[str, CaseOutcome] = {}
        self._file = file
        if file is not None and file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                self._take(line)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> CaseOutcome | None:
        """Return what a case showed, None if it was not run."""
        return self._known.get(key)

    def add(self, key: str, outcome: CaseOutcome) -> None:
        """Keep an outcome.

        Raises:
            EnvironmentProblemError: The disk.
        """
        self._known[key] = outcome
        if self._file is None:
            return
        line = json.dumps({"case": key, **outcome.as_json()})
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as problem:
            raise EnvironmentProblemError(f"cannot write {self._file}: {problem.strerror}") from None

    def _take(self, line: str) -> None:
        """Take a line; one that is cut short was being written when the run ended."""
        try:
            held = json.loads(line)
            key = held.pop("case")
            self._known[str(key)] = CaseOutcome.from_json(held)
        except (ValueError, KeyError, TypeError, AttributeError):
            return


def begin(folder: Path, asked: Mapping[str, Any]) -> Outcomes:
    """Make the folder of a reduction, or take up the one that was begun there.

    Args:
        folder: New, empty, or of a reduction that was asked the same.
        asked: What is reduced, as plain data.

    Raises:
        UsageError: It holds something else.
        EnvironmentProblemError: The disk.
    """
    begun = folder / BEGUN
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not begun.exists():
            if any(folder.iterdir()):
                raise UsageError(f"{folder} holds files that are no reduction; give -o a new folder")
            begun.write_text(json.dumps(asked, indent=1), encoding="utf-8")
    except OSError as problem:
        raise EnvironmentProblemError(f"cannot write {folder}: {problem.strerror}") from None
    if read_object(begun) != json.loads(json.dumps(asked)):
        raise UsageError(
            f"{folder} holds a reduction of something else (see {BEGUN}); give -o a new folder, or the "
            "same options to take it up"
        )
    return Outcomes(folder / OUTCOMES)


def read_object(file: Path) -> dict[str, Any]:
    """Return the object of a JSON file.

    Raises:
        UsageError: It cannot be read, or holds something else.
    """
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UsageError(f"{file} cannot be read as JSON: {problem}") from None
    if not isinstance(held, dict):
        raise UsageError(f"{file} should hold an object")
    return held
