"""The folder of a benchmark: a manifest and one JSON line per finished turn; a rerun continues from there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tracing.errors import EnvironmentProblemError, UsageError
from tracing.files import replace_file
from workbench.bench.tables import Study
from workbench.bench.turn import TurnResult, turn_from_json, turn_json

MANIFEST: Final = "manifest.json"
TURNS: Final = "turns.jsonl"
STUDIES: Final = "studies"
FORMAT: Final = "specwb-bench-2"
ANOTHER: Final = "give another --out folder"


class ResultsFolder:
    """The folder of a benchmark.

    Attributes:
        manifest: What was measured, where and with what.
        results: Turns that are finished, in the order in which they were; one result per proposer each.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Begin or continue a benchmark.

        Args:
            folder: New, empty, or one that was begun with the same identity.
            identity: Plain data that decides what is measured; results of another identity do not mix.
            about: Plain data for the reader: versions, machine.

        Raises:
            UsageError: The folder holds something else.
            EnvironmentProblemError: The disk refuses.
        """
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise EnvironmentProblemError(f"cannot make {folder}: {problem.strerror}") from None
        found = self._found()
        if found is None:
            self.manifest: dict[str, Any] = {"format": FORMAT, "identity": dict(identity), **about}
            self.write_manifest()
        else:
            self.manifest = _same(folder, found, json.loads(json.dumps(dict(identity))))
        self.results = self._read_turns()

    def choose(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a choice that was made by measurement, so that a continued run makes the same one."""
        self.manifest[name] = dict(value)
        self.write_manifest()

    def keep(self, study: Study) -> None:
        """Keep a finished study."""
        (self.folder / STUDIES).mkdir(exist_ok=True)
        self.write(f"{STUDIES}/{study.name}.json", json.dumps(study.as_json(), allow_nan=False) + "\n")

    def kept(self, name: str) -> Study | None:
        """Return a study that is finished, or None.

        Raises:
            UsageError: Its file holds something else.
        """
        path = self.folder / STUDIES / f"{name}.json"
        if not path.exists():
            return None
        try:
            return Study.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{path} holds no study; delete it to measure again") from None

    def add(self, results: Sequence[TurnResult]) -> None:
        """Append a finished turn, a result per proposer."""
        with (self.folder / TURNS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(turn_json(results), allow_nan=False) + "\n")
        self.results += results

    def write(self, name: str, text: str) -> None:
        """Replace a file of the folder."""
        replace_file(self.folder / name, text.encode())

    def write_manifest(self) -> None:
        """Replace the manifest."""
        self.write(MANIFEST, json.dumps(self.manifest, indent=1, allow_nan=False) + "\n")

    def _found(self) -> Any:
        path = self.folder / MANIFEST
        if not path.exists():
            if any(self.folder.iterdir()):
                raise UsageError(
                    f"{self.folder} holds no benchmark and is not empty; give another --out folder"
                )
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise UsageError(f"{path} is not readable; {ANOTHER}") from None

    def _read_turns(self) -> list[TurnResult]:
        """Read finished turns; a last line that was cut when the process died is dropped from the file."""
        path = self.folder / TURNS
        if not path.exists():
            return []
        whole, newline, torn = path.read_bytes().rpartition(b"\n")
        if torn:
            replace_file(path, whole + newline)
        try:
            lines = map(json.loads, whole.splitlines())
            return [result for line in lines for result in turn_from_json(line)]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(
                f"{path} holds a line that is no finished turn; give another --out folder"
            ) from None


def _same(folder: Path, found: Any, identity: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UsageError(f"{folder} holds no benchmark of format {FORMAT}; {ANOTHER}")
    kept = found.get("identity")
    kept = kept if isinstance(kept, dict) else {}
    for name in identity.keys() | kept.keys():
        if identity.get(name) != kept.get(name):
            raise UsageError(
                f"{folder} was begun with {name} {kept.get(name)!r}, not {identity.get(name)!r}; {ANOTHER}"
            )
    return found
