"""Test items: one per trace and invariant, and one for the trace itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from workbench.view.safe_text import safe_line

MAX_LINES = 10


class ViolatedError(Exception):
    """An invariant does not hold, or a trace is not whole; `str()` is the whole report."""


@dataclass
class Verdict:
    """The outcome of one item.

    Attributes:
        name: Of the item.
        failure: Report of what is wrong, or empty.
        skipped: Why there was nothing to look at, or empty.
        warnings: Lines that do not fail the test.
    """

    name: str
    failure: str = ""
    skipped: str = ""
    warnings: list[str] = field(default_factory=list)


class TraceCollector(pytest.Collector):
    """A recorded run."""

    verdicts: tuple[Verdict, ...] = ()

    def collect(self) -> Iterator[InvariantItem]:
        """Yield the items."""
        for verdict in self.verdicts:
            item: InvariantItem = InvariantItem.from_parent(self, name=verdict.name)
            item.verdict = verdict
            yield item


class InvariantItem(pytest.Item):
    """One invariant over one trace."""

    verdict: Verdict

    def runtest(self) -> None:
        """Report what was found.

        Raises:
            ViolatedError: The invariant is violated.
        """
        if self.verdict.skipped:
            pytest.skip(self.verdict.skipped)
        for line in self.verdict.warnings:
            self.add_report_section("call", "specwb warning", line)
        if self.verdict.failure:
            raise ViolatedError(self.verdict.failure)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show the report instead of a traceback through the plugin."""
        if isinstance(excinfo.value, ViolatedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return the location of the item: in the trace."""
        return self.path, None, f"{self.parent.name if self.parent else ''}::{self.name}"


def verdicts_of(answer: dict[str, Any]) -> tuple[Verdict, ...]:
    """Return the items of one checked run: its wholeness, then each rule over all paths."""
    rules: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for path in answer["paths"]:
        for rule in path["rules"]:
            rules.setdefault(rule["rule"], []).append((path["path"], rule))
    return (whole(answer), *(_rule_verdict(rule_id, rows, answer) for rule_id, rows in rules.items()))


def whole(answer: dict[str, Any]) -> Verdict:
    """Return whether the trace is as it was written, closed, and had something to check."""
    verdict = Verdict("trace-is-whole")
    if answer["exit_code"] in {2, 4}:
        verdict.failure = report([f"{answer['run']}: {answer['remark']}", *answer["problems"]])
    return verdict


def _rule_verdict(rule_id: str, rows: list[tuple[str, dict[str, Any]]], answer: dict[str, Any]) -> Verdict:
    first = rows[0][1]
    verdict = Verdict(f"{rule_id}-{first['name']}")
    lines = list(finding_lines(answer, rule_id))
    if lines and first["severity"] == "error":
        counts = ", ".join(
            f"{path}: {rule['num_findings']} findings in {rule['violated']} steps"
            for path, rule in rows
            if rule["violated"]
        )
        verdict.failure = report([f"{answer['run']}: {rule_id} {first['name']} ({counts})", *lines])
    elif lines:
        verdict.warnings = lines
    elif not any(rule["held"] for _, rule in rows):
        reasons = [reason for _, rule in rows for reason in rule["reasons"]]
        verdict.skipped = safe_line(reasons[0]) if reasons else "nothing to look at"
    return verdict


def finding_lines(answer: dict[str, Any], rule_id: str | None = None) -> Iterator[str]:
    """Yield one line per finding, of one rule or of all errors, the first few."""
    found = [
        finding
        for finding in answer["findings"]
        if (finding["rule"] == rule_id if rule_id else finding["severity"] == "error")
    ]
    for finding in found[:MAX_LINES]:
        yield safe_line(f"  {_moment(finding)} {finding['rule']} {finding['path']}: {finding['message']}")
    if len(found) > MAX_LINES:
        yield f"  and {len(found) - MAX_LINES} more; specwb check {answer['run']} lists them"


def report(lines: Iterable[str]) -> str:
    """Return lines with text of a trace, each of them safe to print."""
    return "\n".join(map(safe_line, lines))


def _moment(finding: dict[str, Any]) -> str:
    parts = [finding["prompt_id"], finding["turn"], finding["step"], finding["stage"]]
    return ":".join(str(part) for part in [*parts, *([] if finding["node"] is None else [finding["node"]])])
