"""What a campaign adds up of a run, and what is left of one that died."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tracing.errors import SpecwbError
from tracing.reader import open_run
from workbench.campaign.case import PlannedCase
from workbench.judge.share import Part
from workbench.report.summary import RunSummary

RUNS: Final = "runs"
"""Folder of the traces below a campaign's folder."""
MOST_FINDINGS: Final = 12
"""So many findings of a case stand in its outcome; the trace has all."""


def runs_of(folder: str) -> Path:
    """Return where the traces of a campaign are."""
    return Path(folder) / RUNS


def label_of(case: PlannedCase, worker: str) -> str:
    """Return the name of a case's traces without the number of the attempt; of a canary, one per worker."""
    return f"{case.number:06d}-{worker}" if case.canary else f"{case.number:06d}"


def summarised(summary: RunSummary) -> dict[str, Any]:
    """Return of a run what a campaign adds up."""
    errors = [finding for finding in summary.findings if finding.severity == "error"]
    return {
        "verdict": summary.verdict,
        "exit_code": summary.exit_code,
        "remark": summary.remark,
        "steps": summary.steps,
        "unjudged_steps": summary.unjudged_steps,
        "num_accepted": list(summary.num_accepted),
        "emitted": sum(map(len, summary.emitted_token_ids)),
        "near_ties": summary.near_ties,
        "invariants": dict(summary.invariants),
        "coverage": dict(summary.coverage),
        "not_checked": len(summary.not_checked),
        "is_enough": _is_enough(summary.share),
        "num_findings": len(errors),
        "leanings": dict(summary.leanings),
        "findings": [finding.as_json() for finding in errors[:MOST_FINDINGS]],
    }


def _is_enough(share: Mapping[str, Any] | None) -> bool:
    """Return whether so much was judged that an `ok` could rest on it, whatever was exercised."""
    if share is None or share["unknown"]:
        return False
    parts = [part for part in share.values() if isinstance(part, dict)]
    return all(Part(part["num"], part["of"]).is_enough for part in parts)


def digest_of(folder: Path) -> str:
    """Return a digest of all numbers that the path under test gave in a run."""
    run = open_run(folder)
    if "fused" not in run.path_names:
        return ""
    digest = hashlib.blake2b(digest_size=8)
    for row in run.path("fused"):
        for name in ("emitted_token_ids", "target_top_ids", "target_top_logits", "kv_row_digests"):
            value = row.get(name)
            digest.update(name.encode() + (b"" if value is None else value.tobytes()))
    return digest.hexdigest()


def deaths_of(runs: Path, label: str) -> list[dict[str, Any]]:
    """Return of each earlier attempt at a case where it ended, from its journal; it left no outcome."""
    return [_death(folder) for folder in sorted(runs.glob(f"{label}-*"))]


def _death(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = {"run": f"{RUNS}/{folder.name}", "moment": None}
    try:
        run = open_run(folder)
        for name in run.path_names:
            for step in run.path(name).in_progress:
                told["moment"] = str(step.moment)
    except (SpecwbError, OSError):
        told["moment"] = None
    return told
