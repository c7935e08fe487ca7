"""`specwb check --format junit`: a test suite per run and path, a test case per invariant."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from invariants.catalogue import BY_ID
from tracing.finding import Finding
from workbench.judge.recorded.checked import CheckedPath, CheckedRun
from workbench.judge.recorded.pairs import PAIRED, Compared
from workbench.report.check_text import comparison, violations
from workbench.report.text import finding_line
from workbench.view.safe_text import safe_line, safe_text


def render_checks(runs: Sequence[CheckedRun]) -> str:
    """Return a JUnit XML document; a rule without anything to look at is skipped, never passed."""
    root = ET.Element("testsuites", name="specwb check")
    for run in runs:
        root.append(_trace_suite(run))
        for path in run.paths:
            root.append(_path_suite(run, path))
        if run.compared is not None:
            root.append(_compared_suite(run, run.compared))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _trace_suite(run: CheckedRun) -> ET.Element:
    """The trace itself is a test: whole, and with something in it to check."""
    suite, name = ET.Element("testsuite", name=safe_text(f"{run.folder} trace")), safe_text(str(run.folder))
    case = ET.SubElement(suite, "testcase", classname=name, name="trace is whole and was checked")
    problems = "\n".join(safe_line(problem) for problem in run.problems)
    if run.is_damaged:
        ET.SubElement(case, "error", message=f"the trace is {run.state}", type=run.state).text = problems
    elif run.verdict == "inconclusive":
        ET.SubElement(case, "failure", message=safe_text(run.remark), type="inconclusive").text = problems
    else:
        ET.SubElement(case, "system-out").text = "\n".join(
            safe_line(line) for line in (f"{run.verdict} ({run.remark})", *run.warnings)
        )
    return _counted(suite)


def _path_suite(run: CheckedRun, path: CheckedPath) -> ET.Element:
    classname = safe_text(f"{run.folder}.{path.name}")
    suite = ET.Element("testsuite", name=safe_text(f"{run.folder} {path.name}"))
    for rule_id, counts in path.counts.items():
        rule = BY_ID[rule_id]
        case = ET.SubElement(suite, "testcase", classname=classname, name=f"{rule_id} {rule.name}")
        found = [finding for finding in path.findings if finding.rule == rule_id]
        if counts.violated and rule.severity == "error":
            message = violations(path, rule_id)
            ET.SubElement(case, "failure", message=message, type=rule_id).text = _lines(found)
        elif counts.violated:
            ET.SubElement(case, "system-out").text = f"warning: {_lines(found)}"
        elif not counts.held:
            ET.SubElement(case, "skipped", message=safe_text(counts.main_reason))
    return _counted(suite)


def _compared_suite(run: CheckedRun, compared: Compared) -> ET.Element:
    """Both paths side by side are one test."""
    suite = ET.Element("testsuite", name=safe_text(f"{run.folder} both paths"))
    classname = safe_text(f"{run.folder}.both paths")
    case = ET.SubElement(suite, "testcase", classname=classname, name="both paths record the same")
    if compared.reason:
        ET.SubElement(case, "skipped", message=safe_text(compared.reason))
    elif compared.num_findings:
        failure = ET.SubElement(case, "failure", message=comparison(compared), type=PAIRED[0])
        failure.text = _lines(compared.findings)
    return _counted(suite)


def _counted(suite: ET.Element) -> ET.Element:
    suite.set("tests", str(len(suite)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(len(suite.findall(f"testcase/{tag}"))))
    return suite


def _lines(findings: Sequence[Finding]) -> str:
    return "\n".join(safe_line(finding_line(finding)) for finding in findings)
