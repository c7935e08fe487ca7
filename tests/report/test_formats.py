"""The formats of `specwb check`: valid for the tools that read them, and all with the same facts."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from invariants.examples import StepRow
from tests.cli.recorded import write_run
from tests.report.sarif_schema import problems
from tracing.recorder import RunWriter
from workbench.judge.recorded.check import check_run
from workbench.judge.recorded.checked import CheckedRun
from workbench.report import check_text, github, junit, sarif
from workbench.report import json as json_report


def spoil(row: StepRow) -> StepRow:
    if row["step"] == 1:
        row["other_visible"] = row["other_visible"] + 1
    return row | {"incomplete": "hook\nmissing <&> ::error::x\x1b[2J"} if row["step"] == 2 else row


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> CheckedRun:
    return check_run(write_run(tmp_path_factory.mktemp("good") / "run"))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> CheckedRun:
    return check_run(write_run(tmp_path_factory.mktemp("bad") / "run of 100%", change=spoil))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> CheckedRun:
    with RunWriter(tmp_path_factory.mktemp("empty") / "run") as writer:
        writer.path("fused")
    return check_run(writer.folder)


def test_sarif_is_valid_and_complete(good: CheckedRun, bad: CheckedRun, empty: CheckedRun) -> None:
    for runs in ([good], [bad], [empty], [good, bad, empty]):
        log = json.loads(sarif.render_checks(runs))
        assert problems(log) == []
        results = log["runs"][0]["results"]
        assert len(results) == sum(len(run.findings) for run in runs)
        rules = log["runs"][0]["tool"]["driver"]["rules"]
        assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in results)
    assert log["runs"][0]["invocations"][0]["exitCode"] == 1


def test_sarif_calls_a_check_of_a_damaged_or_unfinished_run_unsuccessful(
    good: CheckedRun, bad: CheckedRun, empty: CheckedRun, tmp_path: Path
) -> None:
    """Findings are a result; a trace that could not be read whole is a failure of the check itself."""
    folder = write_run(tmp_path / "cut", 200)
    stream = folder / "fused.arrows"
    stream.write_bytes(stream.read_bytes()[: stream.stat().st_size * 2 // 3])
    damaged = check_run(folder)
    why = ("the run was never closed whole",)
    unfinished = replace(good, state="truncated", status="running", not_whole=why)
    cases = (([good], True), ([bad], True), ([damaged], False), ([good, damaged], False))
    for runs, successful in (*cases, ([unfinished], False)):
        invocation = sarif.sarif_log(runs)["runs"][0]["invocations"][0]
        assert invocation["executionSuccessful"] is successful
    invocation = sarif.sarif_log([damaged])["runs"][0]["invocations"][0]
    assert invocation["exitCode"] == 2
    assert {each["level"] for each in invocation["toolExecutionNotifications"]} == {"error"}


def test_the_sarif_validator_can_say_no(bad: CheckedRun) -> None:
    log: Any = sarif.sarif_log([bad])
    log["runs"][0]["results"][0]["level"] = "fatal"
    del log["runs"][0]["results"][1]["message"]
    log["runs"][0]["surprise"] = 1
    location = log["runs"][0]["results"][2]["locations"][0]["physicalLocation"]
    location["artifactLocation"]["uri"] = "run of 100%/fused.arrows"
    assert len(problems(log)) == 4


def test_sarif_names_the_moment_and_a_legal_uri(bad: CheckedRun) -> None:
    result = sarif.sarif_log([bad])["runs"][0]["results"][0]
    location = result["locations"][0]
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "fused:0:0:1:verify:0"
    assert location["physicalLocation"]["artifactLocation"]["uri"].endswith("run%20of%20100%25/fused.arrows")
    relative = replace(bad, folder=Path("traces/clean"))
    uri = sarif.sarif_log([relative])["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert uri["artifactLocation"]["uri"] == "traces/clean/fused.arrows"


def test_junit_has_a_case_per_invariant(good: CheckedRun, bad: CheckedRun, empty: CheckedRun) -> None:
    root = ET.fromstring(junit.render_checks([good, bad, empty]))
    suites = {suite.get("name"): suite for suite in root}
    assert len(suites) == 6
    failing = suites[f"{bad.folder} fused"]
    failed = [case.get("name") for case in failing if case.find("failure") is not None]
    assert failed == ["MASK010 stale-row-visible"]
    assert failing.get("failures") == "1"
    assert int(str(failing.get("tests"))) == len(bad.paths[0].counts)
    assert int(str(failing.get("skipped"))) > 0
    warned = next(case for case in failing if case.get("name") == "ROW002 row-incomplete")
    assert warned.find("failure") is None
    assert "hook" in str(warned.findtext("system-out"))
    assert suites[f"{empty.folder} trace"].get("failures") == "1"
    totals = [sum(int(str(suite.get(key))) for suite in root) for key in ("tests", "failures", "skipped")]
    assert [int(str(root.get(key))) for key in ("tests", "failures", "skipped")] == totals


def test_github_annotates_each_finding_on_one_line(bad: CheckedRun) -> None:
    lines = github.render_checks([bad]).splitlines()
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in lines)
    assert len(lines) == len(bad.findings) + 1
    assert "title=MASK010 stale-row-visible::" in lines[0]
    assert "run of 100%25 0:0:1:verify:0 fused: " in lines[0]
    warning = next(line for line in lines if line.startswith("::warning"))
    assert "\x1b" not in warning


def test_all_formats_say_the_same(bad: CheckedRun) -> None:
    data = json.loads(json_report.render_checks([bad]))
    assert data["exit_code"] == bad.exit_code == 1
    assert len(data["runs"][0]["findings"]) == len(bad.findings) == 13
    rules = {rule["rule"]: rule for rule in data["runs"][0]["paths"][0]["rules"]}
    assert rules["MASK010"]["num_findings"] == 12
    assert rules["MASK010"]["first"]["step"] == 1
    text = check_text.render_checks([bad])
    assert "12 findings in 1 step, first at 0:0:1:verify:0" in text
    assert "\x1b" not in text
    assert sum(" MASK010 structural" in line for line in text.splitlines()) == 1
    assert "and 11 possible consequences: MASK010 11 (--format json lists them)" in text
    assert sum(finding["consequence"] for finding in data["runs"][0]["findings"]) == 11
