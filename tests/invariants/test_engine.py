"""The engine: outcomes with reasons, prerequisites, coordinates, what is remembered, and what is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from invariants.ancestry import ancestor_or_self, path_to_root
from invariants.examples import CONTEXT, Before, StepRow, Tree, legal_step, next_before
from invariants.mutation import Case
from invariants.outcome import Held, NotChecked, Violated
from invariants.rule import Violation, Violations, invariant, listed
from invariants.run import Checker, check_step
from invariants.selection import Selection
from tests.invariants.helpers import findings, outcomes, reason, violated
from tracing.errors import UsageError

TREE = Tree([0, 0, 0, 1], [7, 5, 6, 8], [5, 61, 3, 9], num_pads=1)
FIRST = legal_step(TREE, Before(prompt_id=2, turn=1))
AFTER = next_before(FIRST, Before(prompt_id=2, turn=1))
SECOND = legal_step(replace(TREE, token_ids=[61, 5, 6, 8]), AFTER)
CASE = Case(FIRST, CONTEXT, None, FIRST)


def test_a_missing_column_is_named() -> None:
    bare = CASE.edited(visible=None)
    assert reason(bare, "MASK001") == "column visible was not recorded"
    assert outcomes(bare)["POS001"] == Held("POS001")


@pytest.mark.parametrize(
    ("proposer", "rule", "told"),
    [
        ("medusa", "DRAFT003", "medusa drafts a static tree, which has no beam_flat_ids"),
        ("lookup", "DRAFT001", "lookup drafts a chain that was looked up, which has no draft_logprobs"),
        ("medusa", "DRAFT001", "column draft_logprobs was not recorded"),
        ("eagle3", "DRAFT003", "column beam_flat_ids was not recorded"),
        ("an engine's own", "DRAFT003", "column beam_flat_ids was not recorded"),
    ],
)
def test_a_rule_of_a_beam_search_says_what_was_drafted_instead(proposer: str, rule: str, told: str) -> None:
    bare = CASE.edited(proposer=proposer, beam_flat_ids=None, draft_logprobs=None)
    assert reason(bare, rule) == told


def test_a_row_that_is_no_step_is_neither_judged_nor_remembered() -> None:
    def violated_rules(rows: list[StepRow]) -> list[str]:
        checker = Checker(CONTEXT)
        found = (outcome for row in rows for outcome in checker.step("fused", row))
        return [outcome.rule for outcome in found if isinstance(outcome, Violated)]

    other = {**FIRST, "step": 7, "parents": np.array([3, -1]), "committed_len_after": 99}
    assert violated_rules([FIRST, {**other, "row_kind": "preempted"}, SECOND]) == []
    assert violated_rules([FIRST, other, SECOND]) != []


def test_a_fact_that_nobody_knows_is_named() -> None:
    assert reason(CASE.in_run(vocab_size=None), "IDX003") == "vocab_size of the run is not known"


def test_a_step_that_was_not_seen_is_named() -> None:
    assert reason(CASE, "STEP002") == "the previous step was not seen"


def test_an_entry_that_was_lost_is_not_a_pass() -> None:
    lost = CASE.edited(parents=np.ma.array(FIRST["parents"], mask=[0, 1, 0, 0, 0]))
    assert reason(lost, "TREE001") == "column parents has entries that could not be recorded"


def test_broken_parents_do_not_set_off_other_alarms() -> None:
    broken = CASE.poked("parents", 1, -1)
    assert violated(broken) == ["TREE001"]
    assert reason(broken, "TREE002") == "TREE001 is violated"
    assert reason(broken, "MASK001") == "TREE002 was not checked: TREE001 is violated"


def test_a_rule_that_looked_at_nothing_is_not_checked_and_blocks_nobody() -> None:
    alone = Case(legal_step(Tree([0], [7], [61]), Before()), CONTEXT)
    assert reason(alone, "TREE002") == "the tree is only a root"
    assert outcomes(alone)["MASK003"] == Held("MASK003")


def test_an_unselected_prerequisite_still_protects() -> None:
    said = check_step({**FIRST, "parents": FIRST["parents"] - 1}, selection=Selection(select=("TREE002",)))
    assert said == (NotChecked("TREE002", "TREE001 is violated"),)


def test_a_finding_has_coordinates_and_both_values() -> None:
    (finding,) = findings(CASE.poked("position_ids", 3, 19))
    assert str(finding.moment) == "2:1:0:tensorize:3"
    assert (finding.fused, finding.reference, finding.column) == (19, 12, "position_ids")
    assert (finding.rule, finding.severity, finding.path, finding.guilty) == (
        "POS001",
        "error",
        "fused",
        "fused",
    )
    assert "19" in finding.message
    assert "12" in finding.message


def test_on_the_reference_path_the_value_is_the_references() -> None:
    (violated_one,) = [
        outcome
        for outcome in check_step({**FIRST, "final_token_id": 60}, context=CONTEXT, path="reference")
        if isinstance(outcome, Violated) and outcome.rule == "ACC004"
    ]
    finding = violated_one.findings[0]
    assert (finding.fused, finding.reference, finding.guilty) == (None, 60, "reference")


def test_the_checker_remembers_each_path_and_turn_by_itself() -> None:
    checker = Checker(CONTEXT)
    checker.step("fused", FIRST)
    checker.step("reference", FIRST)
    later = {outcome.rule: outcome for outcome in checker.step("fused", SECOND)}
    assert later["STEP002"] == Held("STEP002")
    assert later["ACC008"] == Held("ACC008")
    other_turn = {outcome.rule: outcome for outcome in checker.step("fused", {**SECOND, "turn": 2})}
    assert isinstance(other_turn["STEP002"], NotChecked)
    assert isinstance(other_turn["ACC008"], NotChecked)


def test_after_forget_the_law_begins_anew() -> None:
    checker = Checker(CONTEXT)
    checker.step("fused", FIRST)
    checker.forget("fused")
    rebuilt = {**SECOND, "kv_digest_before": 1}
    said = {outcome.rule: outcome for outcome in checker.step("fused", rebuilt)}
    assert isinstance(said["KV004"], NotChecked)


def test_counts_add_up() -> None:
    checker = Checker(CONTEXT)
    checker.step("fused", FIRST)
    checker.step("fused", {**SECOND, "prefix_visible": SECOND["prefix_visible"] - 1})
    counts = checker.counts["fused"]["MASK009"]
    assert (counts.held, counts.violated, counts.not_checked, counts.num_findings) == (1, 1, 0, 4)
    assert checker.counts["fused"]["STEP001"].reasons == {"the previous step was not seen": 1}
    num_rules = len(checker.counts["fused"])
    assert sum(checker.totals().values()) == 2 * num_rules


def test_before_a_launch_only_rules_with_their_inputs_speak() -> None:
    built = ("committed_len", "token_ids", "parents", "depths", "valid", "position_ids", "visible")
    columns = {name: FIRST[name] for name in built}
    said = Checker(CONTEXT).check_before("fused", "verify", columns)
    assert {outcome.rule for outcome in said} >= {"TREE001", "POS001", "MASK001"}
    assert not {outcome.rule for outcome in said} & {"POS002", "ACC001", "MASK009"}
    assert not [outcome for outcome in said if isinstance(outcome, Violated)]
    wrong = {**columns, "visible": ~FIRST["visible"]}
    spoke = [
        outcome.rule
        for outcome in Checker().check_before("fused", "verify", wrong)
        if isinstance(outcome, Violated)
    ]
    assert spoke == ["MASK005"]


def test_before_a_launch_the_checker_knows_the_step_before() -> None:
    checker = Checker(CONTEXT)
    checker.step("fused", FIRST)
    columns = {name: SECOND[name] for name in ("parents", "token_ids", "committed_len", "step")}
    spoke = checker.check_before("fused", "verify", {**columns, "committed_len": 3})
    assert [outcome.rule for outcome in spoke if isinstance(outcome, Violated)] == ["STEP003"]
    assert checker.totals()["violated"] == 0


def test_a_row_in_the_making_has_lost_nothing_yet() -> None:
    checker = Checker(CONTEXT)
    checker.step("fused", FIRST)
    columns = {name: SECOND[name] for name in ("step", "committed_len", "path_indices")}
    assert "ROW003" not in {outcome.rule for outcome in checker.check_before("fused", "commit", columns)}


def test_a_row_that_says_what_it_lacks_has_lost_nothing() -> None:
    for said in ({"launch_refused": "verify: refused"}, {"incomplete": "the writer was killed"}):
        lacking = {**SECOND, "target_token_ids": None, **said}
        outcomes = {outcome.rule: outcome for outcome in check_step(lacking, previous=FIRST)}
        assert isinstance(outcomes["ROW003"], NotChecked)
        assert outcomes["ROW003"].vacuous


def test_rules_of_later_stages_wait() -> None:
    said = Checker(CONTEXT).check_before("fused", "draft", FIRST)
    assert "TREE001" not in {outcome.rule for outcome in said}
    with pytest.raises(UsageError, match="stage should be one of"):
        Checker().check_before("fused", "attention", FIRST)


def test_the_decorator_reads_the_signature_and_registers_nothing() -> None:
    @invariant("TEST001", stage="verify", requires=("TREE001",))
    def never(*, parents: object, slots: object = None) -> Violations:
        """Nothing."""
        yield Violation(f"{parents} {slots}", "parents")

    assert (never.inputs, never.optional, never.family) == (("parents",), ("slots",), "TEST")
    assert (never.name, never.scope) == ("never", "step")
    assert "TEST001" not in {outcome.rule for outcome in check_step(FIRST)}


def test_scalars_from_numpy_cannot_overflow() -> None:
    row = {**FIRST, "committed_len": np.int32(2**31 - 1), "committed_len_after": np.int32(2**31 - 1)}
    assert "KV001" in [outcome.rule for outcome in check_step(row) if isinstance(outcome, Violated)]


def test_listed_cuts_long_lists() -> None:
    assert listed([1, 2]) == "1, 2"
    assert listed(range(10), limit=2) == "0, 1 and 8 more"


def test_the_drawn_closure_of_the_module() -> None:
    parents = [0, 0, 0, 1]
    rows = ["".join("x" if cell else "." for cell in row) for row in ancestor_or_self(parents, [True] * 4)]
    assert rows == ["x...", "xx..", "x.x.", "xx.x"]
    assert path_to_root(3, parents) == [3, 1, 0]
    assert path_to_root(1, [0, 2, 1]) is None
    assert path_to_root(1, [0, 9]) is None
