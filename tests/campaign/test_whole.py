"""What no case shows and all together do: acceptance along the axes, small mistakes in a half precision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.campaign.fakes import outcome_of
from workbench.campaign.acceptance import ALONG
from workbench.campaign.case import PlannedCase
from workbench.campaign.merged import Merged, merge
from workbench.campaign.plan import PlanRequest, make_plan
from workbench.campaign.text import as_json, lines_of
from workbench.judge.paired import Leaning

PLAN = make_plan(
    PlanRequest(suite="full", over="kv_layout=contiguous,paged,dtype=bfloat16,float32", cases=40, canaries=0)
)
STEPS = 6


def facts(case: PlannedCase, accepted: int) -> dict[str, list[Any]]:
    """Facts of a case whose steps accept so many drafts, or up to two more, of a tree that is as deep."""
    steps = list(range(STEPS))
    accepted_nodes = [max(0, accepted + step % 3) for step in steps]
    return {
        "cut": [False] * STEPS,
        "num_accepted": accepted_nodes,
        "deepest": [4] * STEPS,
        "committed_len": [20 + 3 * step for step in steps],
        "could_go_on": [length < max(2, accepted + 2) for length in accepted_nodes],
        "num_contested": [1] * STEPS,
        "num_branch_wins": [step % 2 for step in steps],
        "drafted": [True] * STEPS,
        "identical": [False] * STEPS,
        "prompt_id": [case.number] * STEPS,
        "turn": [0] * STEPS,
        "step": steps,
        "batch_row": [-1] * STEPS,
        "num_promises": [0] * STEPS,
        "promised": [0] * STEPS,
        "num_kept": [0] * STEPS,
    }


def with_facts(accepted: Any) -> Merged:
    """All cases; how many drafts each accepts is asked of its options."""
    told = [outcome_of(case, facts=facts(case, accepted(case))) for case in PLAN.cases]
    return merge(PLAN, reversed(told))


def test_even_acceptance_raises_no_alarm() -> None:
    merged = with_facts(lambda case: 1)
    assert list(merged.acceptance.alarms()) == []
    (told,) = {each["where"].get("dtype") for each in as_json(merged)["by_depth"]}
    assert told is None  # an axis that moves nothing is no reason to part cases
    assert any(
        line.startswith("by depth    100% of 240, 67% of 240, 50% of 160") for line in lines_of(merged)
    )


def test_acceptance_that_is_gone_under_one_value_of_an_axis() -> None:
    merged = with_facts(lambda case: -9 if case.over["kv_layout"] == "paged" else 2)
    (alarm,) = [alarm for alarm in merged.acceptance.alarms() if alarm.rule == ALONG]
    assert alarm.message.startswith("at kv_layout=paged, depth 1 is accepted 0 of 120 times")
    assert merged.verdict == "ok"  # a warning
    assert "kv_layout=paged" in str(as_json(merged)["warnings"])


def test_a_run_rule_speaks_over_all_cases_where_each_has_too_few_steps() -> None:
    told = [outcome_of(case, facts={**facts(case, 0), "num_accepted": [0] * STEPS}) for case in PLAN.cases]
    merged = merge(PLAN, told)
    assert "STAT001" in {alarm.rule for alarm in merged.acceptance.alarms()}


def test_cases_with_a_fault_or_a_finding_do_not_count() -> None:
    told = [outcome_of(case, facts=facts(case, 0), num_findings=1) for case in PLAN.cases]
    assert merge(PLAN, told).acceptance.by_alike == {}


def leaning(wealth: float, lean: float = 1.0) -> dict[str, Any]:
    """What a run measured along one mistake."""
    clause = "the logits at temperature 0.9"
    made = Leaning(clause, (0.35, 3.0), 4, 40, 1.0, lean, [0.0, 0.1], wealth, 400)
    return {"verify": [{name: getattr(made, name) for name in Leaning.__slots__}]}


def leaning_cases(wealth: float, lean: float = 1.0) -> Iterator[dict[str, Any]]:
    for case in PLAN.cases:
        told = leaning(wealth, lean) if case.over["dtype"] == "bfloat16" else {}
        yield outcome_of(case, leanings=told)


@pytest.mark.parametrize(("wealth", "lean", "made"), [(3.0, 1.0, True), (0.2, 1.0, False), (3.0, 0.1, False)])
def test_evidence_of_independent_runs_multiplies(wealth: float, lean: float, made: bool) -> None:
    """No case is sure (a million to one is a logarithm of 13.8); twenty prompts together are."""
    merged = merge(PLAN, leaning_cases(wealth, lean))
    assert (merged.verdict == "numeric") is made
    assert any("leaning     bfloat16 verify: over" in line for line in lines_of(merged)) is made


def test_one_prompt_counts_once() -> None:
    plan = make_plan(
        PlanRequest(
            suite="code", over="dtype=bfloat16,kv_layout=contiguous,paged", cover="full", cases=2, canaries=0
        )
    )
    twice = [outcome_of(case, name="one", leanings=leaning(9.0)) for case in plan.cases]
    assert merge(plan, twice).verdict == "ok"
    other = outcome_of(plan.cases[1], name="two", leanings=leaning(9.0))
    assert merge(plan, [twice[0], other]).verdict == "numeric"
