"""`specwb check --format sarif`: SARIF 2.1.0, one run for all traces; a moment is a logical location."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tracing.finding import Finding
from tracing.version import VERSION
from workbench.judge.recorded.checked import CheckedRun, worst
from workbench.judge.recorded.pairs import PAIRED
from workbench.view.rule_index import RuleEntry, rule_index
from workbench.view.safe_text import safe_json

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def render_checks(runs: Sequence[CheckedRun]) -> str:
    """Return one SARIF log."""
    return safe_json(sarif_log(runs), indent=1)


def sarif_log(runs: Sequence[CheckedRun]) -> dict[str, Any]:
    """Return the log as plain data."""
    used = dict.fromkeys(rule_id for run in runs for path in run.paths for rule_id in path.counts)
    compared = PAIRED if any(run.compared for run in runs) else ()
    index_of = {rule_id: index for index, rule_id in enumerate([*used, *compared])}
    rules = [sarif_rule(rule_index()[rule_id]) for rule_id in index_of]
    driver = {"name": "specwb", "version": VERSION, "rules": rules}
    log_run = {
        "tool": {"driver": driver},
        "invocations": [_invocation(runs)],
        "results": [_result(run, finding, index_of) for run in runs for finding in run.findings],
        "columnKind": "unicodeCodePoints",
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [log_run]}


def sarif_rule(rule: RuleEntry) -> dict[str, Any]:
    """Return a rule as the driver of a log describes it."""
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.summary},
        "help": {"text": rule.body, "markdown": rule.body},
        "defaultConfiguration": {"level": rule.severity},
        "properties": {"stage": rule.stage, "scope": rule.scope},
    }


def _result(run: CheckedRun, finding: Finding, index_of: dict[str, int]) -> dict[str, Any]:
    properties = {key: value for key, value in finding.as_json().items() if value is not None}
    return {
        "ruleId": finding.rule,
        "ruleIndex": index_of[finding.rule],
        "level": finding.severity,
        "message": {"text": f"{finding.moment} {finding.path}: {finding.message}"},
        "locations": [_location(run, finding)],
        "partialFingerprints": {"specwbMoment/v1": f"{finding.rule}:{finding.path}:{finding.moment}"},
        "properties": properties,
    }


def _location(run: CheckedRun, finding: Finding) -> dict[str, Any]:
    return {
        "physicalLocation": {"artifactLocation": {"uri": _uri(run.folder / f"{finding.path}.arrows")}},
        "logicalLocations": [{"fullyQualifiedName": f"{finding.path}:{finding.moment}", "kind": "element"}],
    }


def _uri(path: Path) -> str:
    """A relative path stays relative, so that a viewer finds it below the checkout's root."""
    from urllib.parse import quote  # costs every report some milliseconds

    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _invocation(runs: Sequence[CheckedRun]) -> dict[str, Any]:
    exit_code = worst(run.exit_code for run in runs)
    return {
        "executionSuccessful": exit_code in {0, 1},
        "exitCode": exit_code,
        "toolExecutionNotifications": list(_notifications(runs)),
        "properties": {"shares": {str(run.folder): run.share.as_json() for run in runs}},
    }


def _notifications(runs: Sequence[CheckedRun]) -> Iterator[dict[str, Any]]:
    for run in runs:
        notes = run.problems or ((run.remark,) if run.verdict == "inconclusive" else ())
        for note in notes:
            level = "error" if run.is_damaged else "warning"
            yield {"level": level, "message": {"text": f"{run.folder}: {note}"}}
        for warning in run.warnings:
            yield {"level": "warning", "message": {"text": f"{run.folder}: {warning}"}}
