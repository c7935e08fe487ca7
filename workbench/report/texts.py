"""`specwb texts`: the verdict over texts, for a person, a script or a CI."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any, Final

from workbench.judge.texts import TextsTally
from workbench.view.counted import counted
from workbench.view.safe_text import safe_json, safe_line, safe_text

MAX_SHOWN: Final = 8


def text_lines(tally: TextsTally, facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the report for a person."""
    yield f"verdict     {tally.verdict}"
    for number, finding in enumerate(tally.findings[:MAX_SHOWN]):
        why = f" ({finding.explanation})" if finding.explanation else ""
        yield f"{'then' if number else 'first':<11} {finding.rule} {finding.message}{why}"
    if tally.num_findings > MAX_SHOWN:
        yield f"            and {tally.num_findings - MAX_SHOWN} more findings; --format json lists them"
    right = tally.num_texts - tally.num_wrong
    texts = counted(tally.num_texts, "text")
    yield f"texts       {texts}, {right} without a finding, {tally.num_tokens:,} choices judged"
    yield f"near ties   {tally.num_near_ties}"
    for tie in tally.near_ties[:MAX_SHOWN]:
        yield (
            f"            prompt {tie.number} token {tie.position}: {tie.token_id}, {tie.best} is better by "
            f"{tie.gap:.3g}, rounding allows {tie.allowance:.3g}"
        )
    for reason, count in tally.not_checked.most_common():
        yield f"not checked {count} of {tally.num_texts} texts: {reason}"
    yield "judged by   " + ", ".join(f"{name} {value}" for name, value in facts.items())


def as_json(tally: TextsTally, facts: Mapping[str, Any]) -> str:
    """Return one JSON object."""
    return safe_json(
        {
            "verdict": tally.verdict,
            "exit_code": tally.exit_code,
            "texts": tally.num_texts,
            "tokens": tally.num_tokens,
            "texts_with_findings": tally.num_wrong,
            "num_findings": tally.num_findings,
            "findings": [finding.as_json() for finding in tally.findings],
            "num_near_ties": tally.num_near_ties,
            "near_ties": [
                {
                    name: getattr(tie, name)
                    for name in ("number", "position", "token_id", "best", "gap", "allowance")
                }
                for tie in tally.near_ties
            ],
            "not_checked": dict(tally.not_checked),
            "judged_by": dict(facts),
        },
        indent=1,
    )


def as_junit(tally: TextsTally, file: str) -> str:
    """Return a JUnit XML document: one case for all texts, and one for each finding."""
    root = ET.Element("testsuites", name="specwb texts")
    suite = ET.SubElement(root, "testsuite", name=safe_text(file))
    case = ET.SubElement(suite, "testcase", classname=safe_text(file), name="texts are the teacher's")
    if tally.verdict == "inconclusive":
        reasons = "; ".join(tally.not_checked)
        ET.SubElement(case, "failure", message=safe_line(reasons), type="inconclusive")
    for number, finding in enumerate(tally.findings):
        name = f"{number} prompt {finding.moment.prompt_id} token {finding.moment.step}"
        case = ET.SubElement(suite, "testcase", classname=safe_text(file), name=name)
        ET.SubElement(case, "failure", message=safe_line(finding.message), type=finding.rule)
    failures = len(suite.findall("testcase/failure"))
    for each in (root, suite):
        each.set("tests", str(len(suite)))
        each.set("failures", str(failures))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
