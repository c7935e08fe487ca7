"""One log of findings: which two are the same, their order, and which may be caused by an earlier one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invariants.catalogue import BY_ID, CATALOGUE
from tests.judge.support import finding
from tracing.finding import Finding, has_error, identity
from tracing.moment import STAGES
from workbench.judge.cause_order import FLOW
from workbench.judge.log import FindingsLog, step_verdict
from workbench.judge.rules import RULES
from workbench.judge.step import StepJudgement
from workbench.judge.verdict import Tally
from workbench.view.rule_index import rule_index


def log() -> FindingsLog:
    return FindingsLog(Tally())


# the same finding


@pytest.mark.parametrize(
    "changes",
    [
        {"consequence": True},
        {"message": "in other words"},
        {"allowance": 0.5, "gap": 1.0},
        {"severity": "warning"},
    ],
)
def test_the_same_thing_is_logged_once_whoever_finds_it(changes: dict[str, object]) -> None:
    """A check before the launch and one of the finished row; the recording's judge and a later one."""
    first, again = finding(fused=1.5, message="here"), replace(finding(fused=1.5, message="here"), **changes)
    logged = log()
    assert logged.add([first, again]) == (first,)
    assert logged.add([again]) == ()
    assert logged.findings == [first]


@pytest.mark.parametrize(
    "changes",
    [
        *({"rule": "MASK001"}, {"column": "visible"}, {"path": "reference"}, {"guilty": "both"}),
        *({"fused": 3}, {"reference": 4}),
        *({"moment": finding(**{name: 1}).moment} for name in ("turn", "step", "node")),
        {"moment": finding(stage="accept").moment},
    ],
)
def test_another_rule_place_path_blame_or_value_is_another_finding(changes: dict[str, object]) -> None:
    one = finding(fused=1, reference=2)
    assert len(log().add([one, replace(one, **changes)])) == 2


def test_a_finding_with_nan_is_the_same_after_it_was_recorded() -> None:
    one = finding(fused=float("nan"), reference=float("inf"))
    recorded = Finding.from_json(json.loads(json.dumps(one.as_json())))
    assert identity(recorded) == identity(one)


# order, tally, writing


def test_a_step_is_logged_in_the_order_of_its_stages_and_the_judge_comes_after_the_checks() -> None:
    written: list[Finding] = []
    logged = FindingsLog(Tally(), written.append)
    stages = ("commit", "", "draft", "verify")
    judged = StepJudgement(findings=(finding(stage="draft", column="scores"),))
    new = logged.add([finding(stage=stage) for stage in stages], judged)
    assert [each.moment.stage for each in new] == ["draft", "draft", "verify", "commit", ""]
    assert [each.column for each in new[:2]] == ["logits", "scores"]
    assert written == logged.findings == list(new)


def test_a_finding_counts_once_in_the_verdict() -> None:
    logged = log()
    logged.add([finding("numeric")], StepJudgement(findings=(finding("numeric"),)))
    verdict = logged.tally.verdict()
    assert (verdict.num_findings, verdict.verdict) == (1, "numeric")


def test_the_findings_of_another_path_are_neither_tallied_nor_found_again() -> None:
    tally = Tally()
    fused, reference = FindingsLog(tally), FindingsLog(tally)
    fused.add([finding()])
    (theirs,) = reference.add([finding(step=5, path="reference")])
    assert not theirs.consequence, "each path decoded alone"
    fused.adopt(reference)
    assert fused.findings == [finding(), theirs]
    assert fused.add([theirs]) == ()
    assert tally.verdict().num_findings == 2


# severity


def test_a_step_has_the_verdict_of_its_first_error() -> None:
    warning = finding("numeric", severity="warning")
    assert step_verdict([]) == step_verdict([warning]) == "ok"
    assert step_verdict([warning, finding("nondeterministic"), finding()]) == "nondeterministic"
    assert not has_error([warning])
    assert has_error([warning, finding()])


# consequences


def test_findings_after_the_first_are_consequences_until_resync() -> None:
    logged = log()
    draft, verify, features = finding(stage="draft"), finding(), finding(column="features")
    assert [each.consequence for each in logged.add([draft, verify, features])] == [False, True, True]
    assert logged.add([finding(stage="draft", step=3)])[0].consequence
    logged.resync()
    assert not logged.add([finding(step=4)])[0].consequence
    assert logged.add([finding(stage="commit", step=4)])[0].consequence


def test_the_same_quantity_at_another_node_is_a_consequence_and_an_independent_one_is_not() -> None:
    assert [each.consequence for each in log().add([finding(node=5), finding(node=3)])] == [False, True]
    columns = ("cache_positions", "parents", "position_ids", "token_ids")
    new = log().add([finding(stage="tensorize", column=column, node=2) for column in columns])
    assert [(each.column, each.consequence) for each in new] == [
        ("token_ids", False),  # the first of the flow; the others do not follow from it
        ("parents", False),
        ("position_ids", False),
        ("cache_positions", False),
    ]
    new = log().add([finding(stage="tensorize", column=column, node=2) for column in columns[1:3]])
    assert [(each.column, each.consequence) for each in new] == [("parents", False), ("position_ids", True)]


# the cause first


def test_the_cause_comes_first() -> None:
    """By data flow, then by node, then by how much the rule explains; what names no node comes after."""
    features = finding(column="features", node=0)
    whole, far, near = (finding(column="kv_row_digests", node=node) for node in (None, 9, 2))
    cell, pattern = (
        finding(rule="MASK003", column="visible", node=0),
        finding(rule="MASK005", column="visible", node=0),
    )
    earlier_cell = finding(rule="MASK003", column="visible", node=7)
    new = log().add([whole, far, features, near, earlier_cell, cell, pattern])
    assert new[0] == pattern
    assert [(each.rule, each.column, each.moment.node) for each in new[1:3]] == [
        ("MASK003", "visible", 0),
        ("MASK003", "visible", 7),
    ]
    assert [each.moment.node for each in new[3:]] == [2, 9, None, 0]
    assert all(each.consequence for each in new[1:])


def test_a_digest_of_the_whole_cache_comes_after_the_row_that_is_wrong() -> None:
    digest = finding(stage="commit", rule="KV005", column="kv_digest_after")
    row = finding(stage="commit", rule="JUDGE-COMMIT-ROWS", column="kv_row_digests", node=5)
    new = log().add([digest, row])
    assert [(each.rule, each.consequence) for each in new] == [("JUDGE-COMMIT-ROWS", False), ("KV005", True)]


def test_every_rule_and_column_of_a_finding_has_its_place_in_a_flow() -> None:
    """A rule of a stage is known there by its id or by the columns that it reads."""
    known = {stage: set().union(*(each.keys for each in flow)) for stage, flow in FLOW.items()}
    rules = [rule for rule in CATALOGUE if rule.scope != "run" and rule.family != "ROW"]
    unknown = [rule.id for rule in rules if not known[rule.stage] & {rule.id, *rule.arguments, *rule.reads}]
    assert unknown == []
    every = set().union(*known.values())
    assert {key for key in every if key.isupper()} <= {
        *RULES,
        *BY_ID,
        *rule_index(),
        "RUN-STAGE-RAISED",
        "RUN-STAGE-TIMEOUT",
    }


def test_the_verdict_tells_how_wrong_the_first_stage_was() -> None:
    """A small error in the K of a node makes its logits another row: the mistake is no rounding."""
    tally = Tally()
    FindingsLog(tally).add([finding("numeric", column="kv", node=1), finding(column="logits", node=1)])
    verdict = tally.verdict()
    assert (verdict.verdict, verdict.num_findings, verdict.num_consequences) == ("structural", 1, 1)


def test_a_new_turn_is_in_step_by_itself_and_a_warning_causes_nothing() -> None:
    logged = log()
    logged.add([finding()])
    assert not logged.add([finding(turn=1)])[0].consequence
    logged = log()
    logged.add([finding(stage="draft", severity="warning")])
    assert not logged.add([finding()])[0].consequence


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(STAGES)), max_size=12, unique=True))
def test_the_first_finding_of_a_turn_is_always_independent(places: list[tuple[int, str]]) -> None:
    ordered = sorted(places, key=lambda place: (place[0], STAGES.index(place[1])))
    logged = log()
    for step, stage in ordered:
        logged.add([finding(step=step, stage=stage)])
    assert [each.consequence for each in logged.findings] == [place != ordered[0] for place in ordered]


def test_a_cause_that_is_found_later_comes_first_and_marks_the_rest() -> None:
    """Free lockstep looks for the origin of its first error once it has one."""
    written: list[Finding] = []
    logged = FindingsLog(Tally(), written.append)
    late = finding(stage="verify", step=1, verdict="structural")
    logged.add([late])
    cause = finding(stage="prefill", step=0, verdict="numeric")
    logged.found_before(cause)
    assert logged.findings == [cause, replace(late, consequence=True)]
    assert written == [late, cause]
    told = logged.tally.verdict()
    assert (told.first_divergence, told.num_findings, told.num_consequences) == (cause, 1, 1)
    logged.found_before(cause)
    assert len(logged.findings) == 2
