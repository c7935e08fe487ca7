"""`specwb check --format json`: plain data, the same facts as the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from invariants.catalogue import BY_ID
from invariants.outcome import Counts
from workbench.judge.recorded.checked import OUTCOMES, CheckedPath, CheckedRun, worst
from workbench.judge.recorded.pairs import Compared
from workbench.view.safe_text import safe_json


def render_checks(runs: Sequence[CheckedRun]) -> str:
    """Return one JSON object with all runs."""
    reported = [run_as_json(run) for run in runs]
    exit_code = worst(run.exit_code for run in runs)
    verdicts = [run.verdict for run in runs if run.exit_code == exit_code]
    together = {
        "verdict": verdicts[0] if verdicts else "inconclusive",
        "exit_code": exit_code,
        "steps": sum(run.num_steps for run in runs),
        "invariants": {key: sum(each["invariants"][key] for each in reported) for key in OUTCOMES},
        "runs": reported,
    }
    return safe_json(together, indent=1)


def run_as_json(run: CheckedRun) -> dict[str, Any]:
    """Return one run as plain data."""
    return {
        "run": str(run.folder),
        "verdict": run.verdict,
        "remark": run.remark,
        "share": run.share.as_json(),
        "warnings": list(run.warnings),
        "exit_code": run.exit_code,
        "state": run.state,
        "status": run.status,
        "problems": list(run.problems),
        "steps": run.num_steps,
        "invariants": run.invariants,
        "findings": [finding.as_json() for finding in run.findings],
        "paths": [_path(path) for path in run.paths],
        "compared": _compared(run.compared),
    }


def _compared(compared: Compared | None) -> dict[str, Any] | None:
    if compared is None:
        return None
    return {
        "reason": compared.reason,
        "steps": compared.num_steps,
        "differing": compared.num_differing,
        "num_findings": compared.num_findings,
    }


def _path(path: CheckedPath) -> dict[str, Any]:
    return {
        "path": path.name,
        "steps": path.num_steps,
        "share": None if path.share is None else path.share.as_json(),
        "in_progress": [str(moment) for moment in path.in_progress],
        "rules": [_rule(path, rule_id, counts) for rule_id, counts in path.counts.items()],
    }


def _rule(path: CheckedPath, rule_id: str, counts: Counts) -> dict[str, Any]:
    first = path.first(rule_id)
    return {
        "rule": rule_id,
        "name": BY_ID[rule_id].name,
        "severity": BY_ID[rule_id].severity,
        "held": counts.held,
        "violated": counts.violated,
        "not_checked": counts.not_checked,
        "num_findings": counts.num_findings,
        "reasons": dict(counts.reasons),
        "first": first.as_json() if first else None,
    }
