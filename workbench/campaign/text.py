"""A merged campaign as lines, as plain data, and as JUnit."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any, Final

from tracing.finding import Finding
from workbench.campaign.acceptance import Alike, CampaignAlarm
from workbench.campaign.case import PlannedCase
from workbench.campaign.merged import CauseGroup, Merged
from workbench.report.text import finding_line
from workbench.view.counted import counted
from workbench.view.safe_text import safe_line, safe_text

MOST: Final = 20
"""So many groups, cases or workers are listed; the rest is counted."""


def lines_of(merged: Merged) -> list[str]:
    """Return the report for a terminal."""
    plan, cases = merged.plan, len(merged.plan.cases)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in merged.verdicts.most_common())
    lines = [
        f"verdict     {merged.verdict}",
        f"cases       {cases - len(merged.missing)} of {cases}: {verdicts or 'none judged'}",
        f"steps       {merged.steps}, {merged.unjudged} of them not judged, {merged.emitted} tokens",
        f"near ties   {merged.near_ties}",
    ]
    if any(case.fault for case in plan.cases):
        lines.append(f"faults      noticed in {merged.noticed} cases, not in {len(merged.missed)}")
        lines += [f"blind       to {name}: no case noticed it" for name in merged.never_noticed]
    lines += [f"missed      {line}" for line in _listed(merged, merged.missed)]
    for group in _by_size(merged)[:MOST]:
        lines += _group_lines(merged, group)
    if len(merged.groups) > MOST:
        lines.append(f"            {len(merged.groups) - MOST} more causes")
    lines += [f"leaning     {told}" for told in merged.leanings.made()]
    lines += [_alarm_line(alarm) for alarm in merged.acceptance.alarms()]
    lines += [f"not run     case {number}: {why}" for number, why in list(merged.problems.items())[:MOST]]
    lines += [f"too little  was judged of {line}" for line in _listed(merged, merged.too_little)]
    if merged.lacking:
        lines.append(f"lacking     no {', no '.join(merged.lacking)} in any case")
    lines += [f"missing     {line}" for line in _listed(merged, merged.missing)]
    lines += list(_machine_lines(merged))
    if merged.never_exercised:
        lines.append(f"never       exercised: {', '.join(merged.never_exercised)}")
    for (axis, value), (accepted, steps) in sorted(merged.accepted.items()):
        if steps:
            lines.append(f"accepted    {accepted / steps:.2f} a step where {axis}={value} ({steps} steps)")
    for alike, together in sorted(merged.acceptance.by_alike.items()):
        shares = ", ".join(f"{passed / could:.0%} of {could}" for could, passed in together.by_depth())
        lines.append(f"by depth    {shares or 'no drafts'}{_where(alike)}")
    return lines


def _alarm_line(alarm: CampaignAlarm) -> str:
    return f"warning     {alarm.rule} over all cases{_where(alarm.alike)}: {alarm.message}"


def _where(alike: Alike) -> str:
    told = ", ".join(f"{axis}={value}" for axis, value in alike)
    return f" where {told}" if told else ""


def as_json(merged: Merged) -> dict[str, Any]:
    """Return the report as plain data."""
    machines = merged.machines
    return {
        "verdict": merged.verdict,
        "exit_code": merged.exit_code,
        "cases": len(merged.plan.cases),
        "verdicts": dict(merged.verdicts),
        "missing": merged.missing,
        "problems": {str(number): why for number, why in merged.problems.items()},
        "retried": {str(number): deaths for number, deaths in merged.deaths.items()},
        "steps": merged.steps,
        "unjudged_steps": merged.unjudged,
        "emitted": merged.emitted,
        "near_ties": merged.near_ties,
        "coverage": dict(merged.coverage),
        "too_little": merged.too_little,
        "lacking": merged.lacking,
        "never_exercised": merged.never_exercised,
        "faults": {"noticed": merged.noticed, "missed": merged.missed, "never_noticed": merged.never_noticed},
        "groups": [_group_json(merged, group) for group in _by_size(merged)],
        "accepted": [
            {"axis": axis, "value": value, "accepted": accepted, "steps": steps}
            for (axis, value), (accepted, steps) in sorted(merged.accepted.items())
        ],
        "by_depth": [
            {"where": dict(alike), "could": could, "passed": passed, "depth": depth}
            for alike, together in sorted(merged.acceptance.by_alike.items())
            for depth, (could, passed) in enumerate(together.by_depth(), 1)
        ],
        "warnings": [
            {"rule": alarm.rule, "where": dict(alarm.alike), "message": alarm.message}
            for alarm in merged.acceptance.alarms()
        ],
        "leanings": list(merged.leanings.made()),
        "workers": {
            name: {"cases": count, "seconds": machines.seconds[name], "host": machines.hosts[name]}
            for name, count in sorted(machines.cases.items())
        },
        "odd_workers": merged.machines.odd,
    }


def junit_of(merged: Merged) -> str:
    """Return a JUnit document: a test per case, and one per worker."""
    root = ET.Element("testsuites", name="specwb campaign")
    suite = ET.SubElement(root, "testsuite", name="cases")
    failed = {number: group for group in merged.groups.values() for number in group.cases}
    missing = set(merged.missing)
    for case in merged.plan.cases:
        told = _values(case)
        item = ET.SubElement(
            suite, "testcase", classname=safe_text(case.name), name=safe_text(f"{case.number} {told}")
        )
        if case.number in merged.problems:
            ET.SubElement(item, "error", message=safe_text(merged.problems[case.number]))
        elif case.number in missing:
            ET.SubElement(item, "error", message="no outcome")
        elif case.number in merged.missed:
            ET.SubElement(item, "failure", message=safe_text(f"fault {case.fault} was not noticed"))
        elif case.number in failed and not case.fault:
            ET.SubElement(item, "failure", message=safe_line(_told(failed[case.number])))
    workers = ET.SubElement(root, "testsuite", name="workers")
    for name in sorted(merged.machines.cases):
        item = ET.SubElement(workers, "testcase", classname="worker", name=safe_text(name))
        if name in merged.machines.odd:
            ET.SubElement(item, "failure", message="its canaries differ from those of equal machines")
    for part in (suite, workers):
        part.set("tests", str(len(part)))
        for key, tag in (("failures", "failure"), ("errors", "error")):
            part.set(key, str(len(part.findall(f"testcase/{tag}"))))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _values(case: PlannedCase) -> str:
    return " ".join(f"{axis}={value}" for axis, value in case.over.items())


def _by_size(merged: Merged) -> list[CauseGroup]:
    return sorted(merged.groups.values(), key=lambda group: (-len(group.cases), group.cases[0]))


def _told(group: CauseGroup) -> str:
    return finding_line(Finding.from_json(group.first))


def _group_lines(merged: Merged, group: CauseGroup) -> Iterator[str]:
    share = len(group.cases) / max(1, len(merged.plan.cases))
    only = group.only_where(merged.plan.axes).items()
    where = "; ".join(f"{axis}={','.join(values)}" for axis, values in only)
    parts = [
        f"first seen in case {group.cases[0]}",
        f"only where {where}" if where else "",
        f"smallest: case {group.example['number']}",
        str(group.example.get("run") or ""),
    ]
    yield f"cause       {counted(len(group.cases), 'case')} ({share:.1%}): {_told(group)}"
    yield f"            {', '.join(filter(None, parts))}"


def _group_json(merged: Merged, group: CauseGroup) -> dict[str, Any]:
    return {
        "cause": list(group.cause),
        "cases": group.cases,
        "share": len(group.cases) / max(1, len(merged.plan.cases)),
        "only_where": group.only_where(merged.plan.axes),
        "faults": sorted(group.values.get("fault", ())),
        "first": dict(group.first),
        "example": group.example["number"],
        "run": group.example.get("run"),
    }


def _machine_lines(merged: Merged) -> Iterator[str]:
    machines = merged.machines
    if machines.cases:
        yield (
            f"workers     {len(machines.cases)} on {counted(len(set(machines.hosts.values())), 'host')}, "
            f"{machines.compared} compared with an equal one"
        )
    for name, numbers in machines.odd.items():
        listed = ", ".join(map(str, numbers))
        yield f"machine     {name} on {machines.hosts[name]} gives other numbers in canary {listed}"
    for number, deaths in list(merged.deaths.items())[:MOST]:
        last = deaths[-1].get("moment") or "before its first step"
        yield f"retried     case {number}: its worker died {counted(len(deaths), 'time')}, last at {last}"


def _listed(merged: Merged, numbers: list[int]) -> Iterator[str]:
    for number in numbers[:MOST]:
        case = merged.plan.cases[number]
        told = _values(case)
        yield f"case {number} {case.name} {case.fault} {told}".rstrip()
    if len(numbers) > MOST:
        yield f"{len(numbers) - MOST} more"
