"""The path under test, called again on a reduced case: what `repro.py --live` compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tracing.finding import Finding
from workbench.npu.bootstrap import bootstrap

bootstrap("auto")

from workbench.reduce.case import RunCase  # noqa: E402  torch is imported behind the bootstrap
from workbench.reduce.evidence import evidence_of  # noqa: E402
from workbench.reduce.kept import read_object  # noqa: E402
from workbench.reduce.running import subject_of  # noqa: E402
from workbench.reduce.source import RunSource, opened  # noqa: E402


def found_again(folder: Path) -> dict[str, Any]:
    """Return what the failing stage of a reduced case gives now, by name.

    Raises:
        SpecwbError: The folder is damaged, or the path cannot be built.
    """
    file = folder / "case.json"
    held = read_object(file)
    source = RunSource(**{**held["source"], "folder": str(folder), "bench": ""})
    case = RunCase.from_json(held["case"], str(file))
    with subject_of(opened(source), case) as subject:
        evidence = evidence_of(subject, Finding.from_json(held["script"]["finding"]))
    if _name(evidence.operator) != _name(held["script"]["operator"]):
        evidence.found.pop("operator", None)  # what was recorded are the inputs of another one
    return evidence.found


def _name(operator: Any) -> str:
    return "" if operator is None else str(operator["name"])
