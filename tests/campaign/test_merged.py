"""What outcomes add up to."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from tests.campaign.fakes import COVERAGE, outcome_of
from workbench.campaign.case import PlannedCase
from workbench.campaign.compared import Verdicts, compare
from workbench.campaign.merged import Merged, merge
from workbench.campaign.page import page_of
from workbench.campaign.plan import Plan, PlanRequest, make_plan
from workbench.campaign.sarif import sarif_of
from workbench.campaign.text import as_json, junit_of, lines_of

PLAN = make_plan(PlanRequest(suite="code", over="dtype=float32,bfloat16", cases=8, canaries=2))
LACKING = {**COVERAGE, "branches": 0}


def merged_with(plan: Plan = PLAN, only: int | None = None, **changed: Any) -> Merged:
    """All outcomes; those of all cases, or of number `only`, changed."""
    told = [outcome_of(case, **(changed if only in (None, case.number) else {})) for case in plan.cases]
    return merge(plan, told)


def faulty() -> PlannedCase:
    request = PlanRequest(suite="code", faults=("leak",), clean=False, cases=1, canaries=0)
    return make_plan(request).cases[0]


FOUND = outcome_of(faulty())["findings"]


def test_all_that_holds_is_ok() -> None:
    merged = merged_with()
    assert (merged.verdict, merged.exit_code, merged.steps) == ("ok", 0, 16)
    assert merged.never_exercised == ["pads"]
    assert "verdict     ok" in lines_of(merged)
    assert merged.accepted["dtype", "float32"] == (12, 8)


def test_twenty_faults_are_twenty_causes_whatever_their_numbers() -> None:
    names = tuple(f"fault-{chr(97 + number)}" for number in range(20))
    plan = make_plan(PlanRequest(suite="code", faults=names, cases=63))
    merged = merge(plan, map(outcome_of, plan.cases))
    assert (merged.verdict, merged.noticed) == ("ok", 60)  # what was planted was found
    assert len(merged.groups) == 20
    for group in merged.groups.values():
        assert len(group.values["fault"]) == 1
        assert len(group.cases) == 3
        assert group.example["number"] == group.cases[0]
    assert len(as_json(merged)["groups"]) == 20


def test_a_fault_that_nobody_notices_is_a_finding_of_the_campaign() -> None:
    plan = make_plan(PlanRequest(suite="code", faults=("fault-a",), cases=4))
    merged = merge(plan, [outcome_of(case, num_findings=0, findings=[]) for case in plan.cases])
    assert merged.missed == [1, 3]
    assert merged.never_noticed == ["fault-a"]
    assert (merged.verdict, merged.exit_code) == ("structural", 1)
    assert any(line.startswith("missed      case 1") for line in lines_of(merged))
    one = [outcome_of(case, **({} if case.number == 1 else {"num_findings": 0})) for case in plan.cases]
    assert merge(plan, one).verdict == "ok"  # it showed somewhere


def test_the_order_of_outcomes_makes_no_difference() -> None:
    plan = make_plan(PlanRequest(suite="code", faults=("fault-a", "fault-b"), cases=9))
    told = [outcome_of(case) for case in plan.cases]
    assert as_json(merge(plan, told)) == as_json(merge(plan, reversed(told)))


def test_a_finding_says_where_alone_it_is_seen() -> None:
    merged = merged_with(only=1, verdict="numeric", exit_code=1, findings=FOUND, num_findings=1)
    assert (merged.verdict, merged.exit_code) == ("numeric", 1)
    (group,) = merged.groups.values()
    assert group.only_where(PLAN.axes) == {"dtype": ["bfloat16"]}
    assert any("only where dtype=bfloat16" in line for line in lines_of(merged))
    suite = ET.fromstring(junit_of(merged))[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("8", "1", "0")


def test_a_cause_is_a_result_of_sarif_and_a_planted_one_is_none() -> None:
    merged = merged_with(only=1, verdict="numeric", exit_code=1, findings=FOUND, num_findings=1, run="runs/1")
    (result,) = sarif_of(merged)["runs"][0]["results"]
    assert (result["ruleId"], result["properties"]["cases"]) == ("MASK001", [1])
    plan = make_plan(PlanRequest(suite="code", faults=("fault-a",), cases=4))
    assert sarif_of(merge(plan, map(outcome_of, plan.cases)))["runs"][0]["results"] == []


def test_the_page_has_a_map_for_every_two_axes() -> None:
    plan = make_plan(
        PlanRequest(suite="code", over="tree=8/2/3,6/1/2,dtype=float32,bfloat16", faults=("<b>",), cases=9)
    )
    merged = merge(plan, map(outcome_of, plan.cases))
    assert merged.cells["tree", "8/2/3", "dtype", "float32"][0] == sum(
        case.over == {"tree": "8/2/3", "dtype": "float32"} for case in plan.cases
    )
    made = page_of(merged)
    assert made.count("Share of cases with a finding") == 3  # the fault is an axis
    assert "<b>" not in made.partition("<body>")[2].partition("<script>")[0]


def test_what_one_case_does_not_exercise_another_may() -> None:
    merged = merged_with(only=2, verdict="inconclusive", exit_code=4, coverage=LACKING)
    assert merged.verdict == "ok"
    assert merged_with(verdict="inconclusive", coverage=LACKING).verdict == "inconclusive"
    too_little = merged_with(only=2, verdict="inconclusive", is_enough=False)
    assert (too_little.verdict, too_little.too_little) == ("inconclusive", [2])


def test_a_case_without_an_outcome_is_missing() -> None:
    merged = merge(PLAN, [outcome_of(case) for case in PLAN.cases[1:]])
    assert merged.missing == [0]
    assert (merged.verdict, merged.exit_code) == ("inconclusive", 4)
    assert any(line.startswith("missing     case 0") for line in lines_of(merged))


def test_the_machine_whose_numbers_differ_is_named() -> None:
    told = [outcome_of(case, f"w{worker}") for worker in range(4) for case in PLAN.canaries]
    told += [outcome_of(case) for case in PLAN.cases if not case.canary]
    for outcome in told:
        if outcome["worker"] == "w2":
            outcome["digest"] = "01"
    merged = merge(PLAN, told)
    assert merged.machines.odd == {"w2": [0, 1]}
    assert (merged.verdict, merged.exit_code) == ("numeric", 1)
    assert any(line.startswith("machine     w2 on here") for line in lines_of(merged))


def test_machines_that_are_not_alike_are_not_compared() -> None:
    told = [outcome_of(case, f"w{worker}") for worker in range(2) for case in PLAN.canaries]
    for outcome in told:
        if outcome["worker"] == "w1":
            outcome |= {"digest": "01", "environment": {"host": "there", "cpu": "AVX512"}}
    merged = merge(PLAN, told)
    assert merged.machines.odd == {}
    assert merged.machines.compared == 0


def test_two_campaigns_side_by_side() -> None:
    before = [outcome_of(case) for case in PLAN.cases]
    other = before[3] | {"verdict": "numeric", "findings": FOUND, "num_findings": 1}
    after = [*before[:3], other, *before[4:], before[0] | {"verdict": "near_tie", "worker": "w1"}]
    told = compare(merge(PLAN, before), Verdicts.read(before), merge(PLAN, after), Verdicts.read(after))
    assert [cause[0] for cause in told.new] == ["MASK001"]
    assert told.gone == ()
    assert told.changed == {PLAN.cases[3].id: ("ok", "numeric")}
    assert told.flaky == (PLAN.cases[0].id,)
    assert told.shared == 8
