"""What a reduction ends in: a folder that stands alone, with weights, tensors, a script and a trace."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save_file

from reference.drafters import drafter_of
from reference.visible import narrower
from tracing.errors import EnvironmentProblemError, UsageError
from tracing.finding import Finding
from tracing.static_tree import static_tree
from workbench.locate.scene import Subject
from workbench.reduce.case import ModelCut, RunCase
from workbench.reduce.evidence import StageEvidence, evidence_of
from workbench.reduce.models import FOLDER, write_pair
from workbench.reduce.running import recorded, subject_of, token_bytes_of
from workbench.reduce.script import script_of
from workbench.reduce.source import OpenedSource, RunSource

TRACE: Final = "trace"
STAGE: Final = "stage.safetensors"
CASE: Final = "case.json"
SCRIPT: Final = "repro.py"


@dataclass(frozen=True, slots=True)
class Written:
    """The folder of a reduced case.

    Attributes:
        folder: Where.
        finding: The first of the run in it.
        evidence: Its tensors.
        num_bytes: Of the weights.
    """

    folder: Path
    finding: Finding
    evidence: StageEvidence
    num_bytes: int


def write_case(opened: OpenedSource, case: RunCase, folder: Path, tries: int = 1) -> Written:
    """Run a reduced case once more, recorded, and write everything that its reader needs.

    Args:
        opened: The whole models.
        case: What is left.
        folder: Is there.
        tries: Runs until the finding shows.

    Raises:
        UsageError: It does not show any more.
        SpecwbError: The disk.
    """
    trace = folder / TRACE
    own = renumbered(opened, case)
    with subject_of(opened, case) as subject:
        for _ in range(tries):
            shutil.rmtree(trace, ignore_errors=True)
            staged = recorded(opened, case, subject, trace)
            finding = next((each for each in staged.log.findings if each.severity == "error"), None)
            if finding is not None:
                break
        else:
            raise UsageError(f"the reduced case showed nothing when it ran {tries} more times")
        evidence = evidence_of(subject, finding)
        script = for_script(subject, case, finding, evidence)
    pair = opened.cut(case.cut)
    tokens = {token for turn in own.turns for token in turn}
    tokens |= {int(token) for turn in staged.finished for token in turn.emitted}
    try:
        write_pair(folder, pair, token_bytes_of(opened, case), tokens)
        tensors = {f"inputs.{name}": each for name, each in evidence.inputs.items()}
        tensors |= {f"found.{name}": each for name, each in evidence.found.items()}
        save_file(tensors, str(folder / STAGE))
        told = {"case": own.as_json(), "source": shared(opened.source), "script": script}
        (folder / CASE).write_text(json.dumps(told, indent=1), encoding="utf-8")
        title = f"{finding.rule} at {finding.moment.stage or 'no single stage'}, reduced."
        text = script_of(finding.moment.stage, title, has_operator=evidence.operator is not None)
        (folder / SCRIPT).write_text(text, encoding="utf-8")
    except OSError as problem:
        raise EnvironmentProblemError(f"cannot write {folder}: {problem.strerror or problem}") from None
    return Written(folder, finding, evidence, weights_bytes(folder))


def shared(source: RunSource) -> dict[str, Any]:
    """Return a source without what names places of this machine: the models are those of the folder."""
    return replace(source, model=None, draft=None, bench="", need="plain", weights="as-is").as_json()


def renumbered(opened: OpenedSource, case: RunCase) -> RunCase:
    """Return a case in the numbers of the models that are left, which are then whole."""
    turns = tuple(tuple(turn) for turn in opened.renumbered(case))
    return replace(case, turns=turns, cut=ModelCut())


def weights_bytes(folder: Path) -> int:
    """Return the size of the weights."""
    return sum(file.stat().st_size for file in (folder / FOLDER).glob("*.safetensors"))


def for_script(subject: Subject, case: RunCase, finding: Finding, evidence: StageEvidence) -> dict[str, Any]:
    """Return what the script reads of the case."""
    pair, settings = subject.pair, case.settings
    window = narrower(settings.window, getattr(pair.drafter, "window", 0) or 0)
    static = "static_tree" in drafter_of(pair).settings
    return {
        "stage": finding.moment.stage,
        "finding": finding.as_json(),
        "dtype": subject.dtype,
        "proposer": pair.proposer,
        "settings": case.as_json()["settings"],
        "sampled": not settings.is_greedy,
        "eos_token_ids": sorted(pair.eos_token_ids),
        "vocab_size": pair.teacher.vocab_size,
        "max_positions": pair.teacher.max_position_embeddings,
        "rotary_offset": subject.runner.model_facts.rotary_offset,
        "drafter_window": window,
        "static_paths": [list(path) for path in static_tree(settings.static_tree)] if static else [],
        "operator": evidence.operator,
    }
