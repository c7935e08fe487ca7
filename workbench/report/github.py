"""`specwb check --format github`: workflow commands, one annotation per finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workbench.judge.recorded.checked import CheckedRun
from workbench.view.counted import counted
from workbench.view.rule_index import rule_title
from workbench.view.safe_text import safe_text


def render_checks(runs: Sequence[CheckedRun]) -> str:
    """Return one workflow command per finding and per problem of a trace, and a notice per run."""
    return "\n".join(line for run in runs for line in _run(run)) + "\n"


def _run(run: CheckedRun) -> Iterator[str]:
    folder = str(run.folder)
    for finding in run.findings:
        level = "warning" if finding.severity == "warning" else "error"
        yield _command(
            level, rule_title(finding.rule), f"{folder} {finding.moment} {finding.path}: {finding.message}"
        )
    for problem in run.problems:
        level = "error" if run.is_damaged else "warning"
        yield _command(level, f"trace {run.state}", f"{folder}: {problem}")
    for warning in run.warnings:
        yield _command("warning", "checkpoint", f"{folder}: {warning}")
    level = "notice" if run.verdict == "ok" else "error"
    remark = f" ({run.remark})" if run.remark else ""
    yield _command(
        level, "specwb check", f"{folder}: {run.verdict}{remark}, {counted(run.num_steps, 'step')}"
    )


def _command(level: str, title: str, message: str) -> str:
    """Return one command; what would end it or begin another is escaped, as GitHub prescribes."""
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return safe_text(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
