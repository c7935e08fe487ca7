"""A merged campaign as SARIF 2.1.0: a result per cause, at the trace of its smallest case."""

from __future__ import annotations

from typing import Any

from tracing.finding import Finding
from tracing.version import VERSION
from workbench.campaign.merged import CauseGroup, Merged
from workbench.report.sarif import SCHEMA, sarif_rule
from workbench.view.rule_index import rule_index


def sarif_of(merged: Merged) -> dict[str, Any]:
    """Return the log as plain data; causes that only planted faults have are left out."""
    groups = [group for group in merged.groups.values() if group.clean]
    index = rule_index()
    ids = sorted({group.cause[0] for group in groups if group.cause[0] in index})
    driver = {"name": "specwb", "version": VERSION, "rules": [sarif_rule(index[rule]) for rule in ids]}
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, "exitCode": merged.exit_code}],
        "results": [_result(group, len(merged.plan.cases)) for group in groups],
        "columnKind": "unicodeCodePoints",
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(group: CauseGroup, cases: int) -> dict[str, Any]:
    finding = Finding.from_json(group.first)
    where = [{"fullyQualifiedName": str(finding.moment), "kind": "element"}]
    location: dict[str, Any] = {"logicalLocations": where}
    if group.example.get("run"):
        location["physicalLocation"] = {"artifactLocation": {"uri": f"{group.example['run']}/fused.arrows"}}
    return {
        "ruleId": finding.rule,
        "level": "error",
        "message": {"text": f"{len(group.cases)} of {cases} cases: {finding.message}"},
        "locations": [location],
        "partialFingerprints": {"specwbCause/v1": ":".join(group.cause)},
        "properties": {"cases": group.cases, "example": group.example["number"]},
    }
