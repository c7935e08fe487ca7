"""From steps to a run: verdicts, coverage, consequences, repeats, blame and the triangle."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.judge.support import accept, finding, judged, sound_step, tensorized
from tracing.finding import VERDICTS, Finding
from tracing.moment import Moment
from workbench.judge.blame import agrees, guilty
from workbench.judge.coverage import COUNTERS, count_step, not_exercised
from workbench.judge.notes import NearTie, Unchecked
from workbench.judge.repeat import before_blame, judge_repeat
from workbench.judge.rules import RULES
from workbench.judge.step import StepJudgement, judge_step
from workbench.judge.triangle import MEANINGS, triangle
from workbench.judge.verdict import EXIT_CODES, RunVerdict, Tally

COVERED = Counter(steps=4, rejections=2, branches=3)


def verdict_of(
    *findings: Finding, near_ties: Any = (), coverage: Any = COVERED, chain: bool = False
) -> RunVerdict:
    tally = Tally(chain=chain)
    tally.add(StepJudgement(findings, tuple(near_ties), ("verify.logits",), (), Counter(coverage)))
    return tally.verdict()


def near_tie(emitted: bool) -> NearTie:
    return NearTie(Moment(0, 0, 0, "verify", 3), "choice", 1, 2, 0.1, 0.2, emitted)


# verdicts


def test_a_covered_run_without_findings_is_ok() -> None:
    verdict = verdict_of()
    assert (verdict.verdict, verdict.exit_code, verdict.text) == ("ok", 0, "ok")


@pytest.mark.parametrize("verdict", ["numeric", "structural", "nondeterministic"])
def test_any_finding_ends_in_exit_code_1(verdict: str) -> None:
    result = verdict_of(finding(verdict), near_ties=[near_tie(emitted=True)])
    assert (result.verdict, result.exit_code) == (verdict, 1)
    assert result.first_divergence == finding(verdict)


def test_the_worst_independent_finding_names_the_run_and_the_first_is_shown() -> None:
    first, later = finding("numeric"), finding("structural", step=5)
    result = verdict_of(first, later)
    assert (result.verdict, result.first_divergence, result.num_findings) == ("structural", first, 2)
    result = verdict_of(first, replace(later, consequence=True))
    assert (result.verdict, result.num_findings, result.num_consequences) == ("numeric", 1, 1)


def test_a_warning_is_no_finding() -> None:
    assert verdict_of(finding(severity="warning")).verdict == "ok"


def test_a_near_tie_is_reported_only_when_an_emitted_token_differs() -> None:
    quiet = verdict_of(near_ties=[near_tie(emitted=False)])
    assert (quiet.verdict, quiet.near_ties) == ("ok", 1)
    result = verdict_of(near_ties=[near_tie(emitted=True)])
    assert (result.verdict, result.exit_code) == ("near_tie", 0)


@pytest.mark.parametrize("missing", ["rejections", "branches"])
def test_what_never_happened_makes_a_run_inconclusive(missing: str) -> None:
    result = verdict_of(coverage={**COVERED, missing: 0})
    assert (result.verdict, result.exit_code, result.text) == (
        "inconclusive",
        4,
        f"inconclusive (no {missing})",
    )
    assert missing in result.not_exercised


def test_a_chain_is_ok_and_says_what_it_cannot_show() -> None:
    result = verdict_of(coverage={**COVERED, "branches": 0}, chain=True)
    assert (result.verdict, result.text) == ("ok", "ok (tree mask not exercised)")
    assert (
        verdict_of(coverage={**COVERED, "branches": 0, "rejections": 0}, chain=True).verdict == "inconclusive"
    )


def test_nothing_judged_is_never_ok() -> None:
    assert Tally().verdict().text == "inconclusive (no step was judged)"
    tally = Tally()
    tally.add(StepJudgement(not_checked=(Unchecked("draft", "*", "x"),), coverage=Counter(COVERED)))
    result = tally.verdict()
    assert result.text == "inconclusive (nothing was checked)"
    assert result.not_checked == {Unchecked("draft", "*", "x"): 1}


def test_every_verdict_has_an_exit_code_and_every_rule_a_verdict() -> None:
    assert set(EXIT_CODES) == set(VERDICTS)
    assert all(rule.verdict in VERDICTS and rule.sentence.endswith(".") for rule in RULES.values())
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


# coverage


def test_a_sound_step_counts_what_it_exercised() -> None:
    coverage = judge_step(sound_step()).coverage
    for name in (
        "steps",
        "rejections",
        "acceptances",
        "branches",
        "pads",
        "commit_fast_reorder",
        "later_turns",
    ):
        assert coverage[name] == 1, name
    for name in ("eos", "length_limit", "cut_steps", "long_kv", "block_boundaries", "choice_near_ties"):
        assert name in not_exercised(coverage)
    assert set(coverage) <= set(COUNTERS)


def test_block_boundaries_long_kv_and_fallbacks_are_seen() -> None:
    step = sound_step()
    after = step.commit.committed_len + len(step.commit.path_indices)
    assert count_step(replace(step, block_size=after))["block_boundaries"] == 1
    assert count_step(replace(step, block_size=after + 1))["block_boundaries"] == 0
    far = replace(step, accept=replace(step.accept, committed_len=512))
    assert count_step(far)["long_kv"] == 1
    fell = replace(step.commit.committed, commit_mode="full_reorder", commit_fallback="prefix not shared")
    counts = count_step(replace(step, commit=replace(step.commit, committed=fell)))
    assert (counts["commit_full_reorder"], counts["commit_fallbacks"], counts["commit_fast_reorder"]) == (
        1,
        1,
        0,
    )


def test_a_path_accepted_to_its_leaf_is_no_rejection() -> None:
    step = sound_step()
    tree = step.tensorize.fused
    choices = step.accept.target_token_ids.copy()
    node = 0
    while (children := [c for c in range(1, 10) if tree.parents[c] == node and tree.valid[c]]) != []:
        choices[node] = tree.token_ids[children[0]]
        node = children[0]
    evidence = accept(tree, choices)
    assert judged(evidence).findings == ()
    counts = count_step(replace(step, accept=evidence))
    assert (counts["rejections"], counts["long_acceptances"]) == (0, 1)


@given(st.integers(0, 500), st.integers(1, 4), st.booleans())
def test_acceptance_is_cut_at_eos_and_at_the_limit(seed: int, remaining: int, with_eos: bool) -> None:
    """The cut token becomes the final one; accepting one token past the end is found."""
    step = sound_step(seed)
    tree = step.tensorize.fused
    choices = step.accept.target_token_ids
    eos = frozenset({int(choices[0])}) if with_eos else frozenset()
    evidence = accept(tree, choices, remaining, eos)
    assert judged(evidence).findings == ()
    uncut = accept(tree, choices)
    past_the_end = replace(evidence, fused=uncut.fused)
    cut = len(evidence.fused.emitted_token_ids) < len(uncut.fused.emitted_token_ids)
    rules = {each.rule for each in judged(past_the_end).findings}
    assert ("JUDGE-ACCEPT-NODES" in rules) == cut


def test_a_missing_tree_column_is_judged_from_the_arrays_alone() -> None:
    step = sound_step()
    bare = replace(step, tensorize=replace(step.tensorize, drafted=None))
    judgement = judge_step(bare)
    assert judgement.findings == ()
    assert ("tensorize", "token_ids") in {(each.stage, each.quantity) for each in judgement.not_checked}
    too_small = replace(step, tensorize=replace(step.tensorize, fused=tensorized(step.draft.fused, 14)))
    assert {each.rule for each in judge_step(too_small).findings} == {"JUDGE-SHAPE"}


# repeats


def test_a_stage_that_repeats_itself_is_deterministic_nan_included() -> None:
    first = {"logits": np.array([[1.0, np.nan], [0.0, 2.0]], np.float32), "choices": np.array([3, 4])}
    judgement = judge_repeat(
        Moment(0), "verify", "fused", first, {key: value.copy() for key, value in first.items()}
    )
    assert judgement.findings == ()
    assert len(judgement.checked) == 2


@pytest.mark.parametrize("other", [np.float32(2.0000002), np.float32(np.nan)])
def test_one_bit_of_difference_is_nondeterministic(other: np.float32) -> None:
    one = np.array([[1.0, 1.5], [0.0, 2.0]], np.float32)
    two = one.copy()
    two[1, 1] = other
    (found,) = judge_repeat(Moment(0), "verify", "fused", {"logits": one}, {"logits": two}).findings
    assert (found.rule, found.verdict, found.guilty) == ("JUDGE-REPEAT", "nondeterministic", "fused")
    assert "first node 1, token 1: 2.0 and then" in found.message
    assert found.moment.node == 1


def test_a_repeat_of_another_shape_or_column_is_reported() -> None:
    one, two = np.zeros(3), np.zeros(4)
    assert judge_repeat(Moment(0), "draft", "fused", {"a": one}, {"a": two}).findings
    assert judge_repeat(Moment(0), "draft", "fused", {"a": one}, {}).not_checked[0].quantity == "a"


def test_nondeterminism_goes_before_blame() -> None:
    repeat = finding("nondeterministic", guilty="fused", rule="JUDGE-REPEAT")
    blamed, elsewhere = finding("numeric", guilty="reference"), finding("numeric", stage="draft")
    turned = before_blame([blamed, elsewhere], [repeat])
    assert [(each.verdict, each.guilty) for each in turned] == [
        ("nondeterministic", "fused"),
        ("numeric", "fused"),
    ]
    both = before_blame([blamed], [repeat, replace(repeat, guilty="reference")])
    assert both[0].guilty == "both"
    assert before_blame([blamed], []) == (blamed,)


# blame and triangle


def test_blame_needs_an_arbiter_that_can_decide() -> None:
    one, two = np.array([0.0, 0.0]), np.array([1.0, 0.0])
    assert guilty(one, two, None, 0.1) == "unknown"
    assert guilty(one, two, np.array([0.5, 0.0]), 0.6) == "unknown"
    assert guilty(one, two, np.array([0.05, 0.0]), 0.1) == "reference"
    assert guilty(one, two, np.array([np.nan, 0.0]), 0.1) == "both"
    assert not agrees(one, np.array([0.09, 0.09]), 0.1, allowance_rms=0.05)


@pytest.mark.parametrize(("right", "cause"), [(key, value[0]) for key, value in MEANINGS.items()])
def test_the_triangle_tells_a_tree_bug_from_row_count_dependence(
    right: tuple[bool, bool, bool], cause: str
) -> None:
    truth = np.arange(4.0)
    rows = [truth if fine else truth + place for place, fine in enumerate(right, start=5)]
    result = triangle(packed=rows[0], alone=rows[1], reprefill=rows[2], truth=truth, allowance=0.1)
    assert result[0] == cause


def test_three_that_agree_against_the_truth_point_at_the_reference() -> None:
    truth, other = np.zeros(4), np.ones(4)
    assert triangle(packed=other, alone=other, reprefill=other, truth=truth, allowance=0.1)[0] == "reference"
    apart = triangle(packed=other, alone=2 * other, reprefill=other, truth=truth, allowance=0.1)
    assert apart[0] == "everywhere"


def test_the_cache_is_accused_only_where_its_rows_are_wrong() -> None:
    """K, V and features that agree leave the head, or a write into the logits."""
    truth, other = np.zeros(4), np.ones(4)
    rows = {"packed": other, "alone": 2 * other, "reprefill": truth, "truth": truth, "allowance": 0.1}
    assert triangle(**rows)[0] == "cache"
    assert triangle(**rows, rows_agree=True)[0] == "behind_the_cache"
