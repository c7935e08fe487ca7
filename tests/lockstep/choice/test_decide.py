"""The choice: a function of policy, measurements and facts, and of nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from workbench.lockstep.choice.costs import StepCosts
from workbench.lockstep.choice.decide import Decision, decide, fitted
from workbench.lockstep.choice.facts import PromptFacts
from workbench.lockstep.choice.measured import SHARED_STEPS, ChoiceCosts, Measurements, StepCounts
from workbench.lockstep.choice.policy import Policy, PolicyChoice, PolicyRule

RULES = (
    PolicyRule("repeats", {"overlap": (0.5, None)}),
    PolicyRule("short", {"prompt_tokens": (None, 4)}, among=("tree",)),
    PolicyRule("rest"),
)
CHOICES = {
    "lookup": PolicyChoice("lookup", "lookup"),
    "tree": PolicyChoice("tree", "eagle3"),
    "gone": PolicyChoice("gone", "medusa"),
}
POLICY = Policy(CHOICES, RULES)
SETTINGS = {
    "lookup": DecodeSettings(tree_nodes=5, max_new_tokens=65),
    "tree": DecodeSettings(tree_nodes=10, depth=2, top_k=3, max_new_tokens=65),
}
REST = {1: 0.010, 5: 0.012, 10: 0.016}


def costs(draft: float, prompt_token: float = 0.0) -> ChoiceCosts:
    return ChoiceCosts(StepCosts(0.010, REST, {0: (draft, 0.0)}), prompt_token)


def measured(**counts: dict[str, StepCounts]) -> Measurements:
    return Measurements({"lookup": costs(0.0), "tree": costs(0.008, 0.0001)}, dict(counts))


PLAIN = measured(
    lookup={"repeats": StepCounts(500, 1500, 50), "rest": StepCounts(500, 50, 450)},
    tree={"repeats": StepCounts(500, 1000, 0), "rest": StepCounts(500, 1000, 0)},
)


def chosen(facts: PromptFacts, known: Measurements = PLAIN, **changes: Any) -> Decision:
    return decide(replace(POLICY, **changes), known, SETTINGS, facts, {"gone": "no heads"})


def test_what_accepts_more_under_the_rule_that_holds_is_taken() -> None:
    assert chosen(PromptFacts(100, overlap=0.8)).choice == "lookup"
    assert chosen(PromptFacts(100, overlap=0.1)).choice == "tree"
    assert chosen(PromptFacts(3)).rule == "short"


def test_a_decision_follows_from_its_inputs_and_tells_them() -> None:
    facts = PromptFacts(100, overlap=0.8)
    first = chosen(facts)
    again = chosen(facts, Measurements.from_json(json.loads(json.dumps(PLAIN.as_json())), "here"))
    assert again == first
    assert first.reasons[0] == "rule 'repeats': overlap 0.8 is in 0.5 to any"
    assert first.reasons[1].startswith("lookup: 2.")
    assert first.reasons[-1] == "gone left out: no heads"


def test_a_lookup_that_finds_nothing_costs_one_row() -> None:
    """A step of 5 rows is 12 ms, of the root alone 10 ms: what is paid depends on how often it finds."""
    often = chosen(PromptFacts(9), measured(lookup={"rest": StepCounts(100, 0, 0)})).forecasts
    never = chosen(PromptFacts(9), measured(lookup={"rest": StepCounts(100, 0, 100)})).forecasts
    step = {
        name: {each.choice: each.step_seconds for each in made} for name, made in (("o", often), ("n", never))
    }
    assert step["o"]["lookup"] == pytest.approx(0.012)
    assert step["n"]["lookup"] == pytest.approx(0.010)


def test_a_long_prompt_makes_a_drafter_that_reads_it_dear() -> None:
    known = measured(lookup={"rest": StepCounts(90, 18, 0)}, tree={"rest": StepCounts(90, 180, 0)})
    assert chosen(PromptFacts(100), known).choice == "tree"
    assert chosen(PromptFacts(2000), known).choice == "lookup"


def test_equals_are_taken_in_the_order_of_the_policy() -> None:
    known = Measurements({"lookup": costs(0.0), "tree": costs(0.0)})
    same = {name: DecodeSettings(tree_nodes=5) for name in SETTINGS}
    for order in (("lookup", "tree"), ("tree", "lookup")):
        policy = replace(POLICY, choices={name: CHOICES[name] for name in order})
        assert decide(policy, known, same, PromptFacts(9), {}).choice == order[0]


def test_a_rule_that_leaves_no_choice_says_why() -> None:
    rules = (PolicyRule("rest", among=("gone",)),)
    with pytest.raises(UsageError, match=r"'rest' .* leaves no choice \(gone: no heads\)"):
        chosen(PromptFacts(9), rules=rules)


def test_few_steps_lean_on_those_under_all_rules() -> None:
    known = measured(lookup={"repeats": StepCounts(2, 20, 0), "rest": StepCounts(998, 980, 0)})
    accepted, alone, steps = known.expected("lookup", "repeats") or (0.0, 0.0, 0)
    assert accepted == pytest.approx((20 + SHARED_STEPS * 1.0) / (2 + SHARED_STEPS))
    assert (alone, steps) == (0.0, 2)
    assert known.expected("lookup", "never seen") == pytest.approx((1.0, 0.0, 0))
    assert known.expected("tree", "repeats") is None


def test_what_was_expected_counts_until_something_is_measured() -> None:
    choices = {**CHOICES, "tree": replace(CHOICES["tree"], accepted=9.0)}
    assert chosen(PromptFacts(9), measured(), choices=choices).choice == "tree"
    known = measured(tree={"rest": StepCounts(1, 0, 0)}, lookup={"rest": StepCounts(1, 0, 0)})
    assert chosen(PromptFacts(9), known, choices=choices).choice == "lookup"


@pytest.mark.parametrize(
    ("nodes", "proposer", "sizes", "expected"),
    [
        (12, "eagle3", None, 12),  # nothing is compiled
        (12, "eagle3", {1, 8, 16}, 8),  # a tree that may be smaller
        (12, "eagle3", {12}, 12),
        (12, "eagle3", {1, 16}, None),
        (8, "medusa", {1, 4, 16}, 16),  # a static one is padded
        (8, "medusa", {1, 4}, None),
        (11, "lookup", {1, 8}, 8),
        (11, "lookup", {8, 11}, None),  # the root alone is one row
        (11, "lookup", {1, 11}, 11),
        (12, "draft_model", set(), None),
    ],
)
def test_only_captured_numbers_of_rows_are_planned(
    nodes: int, proposer: str, sizes: set[int] | None, expected: int | None
) -> None:
    found = fitted(DecodeSettings(tree_nodes=nodes), proposer, sizes)
    assert (None if found is None else found.tree_nodes) == expected


@pytest.mark.parametrize(
    "held",
    [
        None,
        [],
        {"format": "other"},
        {**PLAIN.as_json(), "costs": {"lookup": {}}},
        {**PLAIN.as_json(), "counts": {"lookup": {"rest": {"steps": -1, "accepted": 0, "alone": 0}}}},
        {**PLAIN.as_json(), "counts": {"lookup": {"rest": {"steps": 1, "accepted": 0, "spare": 0}}}},
        {
            "format": "specwb-measured-1",
            "costs": {"a": {"token": 1, "prompt_token": 0, "verify": {}, "draft": {}}},
        },
    ],
)
def test_measured_costs_of_another_kind_are_refused(held: Any) -> None:
    with pytest.raises(UsageError, match="here holds no measured costs"):
        Measurements.from_json(held, "here")


def test_what_is_learned_is_not_written_into_what_was_measured() -> None:
    copy = PLAIN.copy()
    copy.take("lookup", "rest", StepCounts(1, 1, 0))
    assert PLAIN.counts["lookup"]["rest"] == StepCounts(500, 50, 450)
    assert copy.counts["lookup"]["rest"] == StepCounts(501, 51, 450)
