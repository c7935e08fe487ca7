"""Laws that were computed elsewhere, as fractions: ours are equal as rationals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from workbench.lossless import boxes
from workbench.lossless.judge import JudgeSettings, rule_verdict
from workbench.lossless.law import completed, target_law, total_variation
from workbench.lossless.mistakes import MISTAKES
from workbench.lossless.problem import Problem, as_path, problem_from
from workbench.lossless.rules import RULES, law_of_rule

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "sampling.json").read_text())
EVERY = {**RULES, **MISTAKES}
NAMES = {
    "eagle_fixed_tree_q1": ("eagle", "fixed"),
    "wrong_fixed_tree_p_over_q": ("ratio-on-fixed-drafts", "top"),
    "wrong_accept_p_resample_full_p": ("resample-full-target", "fixed"),
    "medusa_nucleus_top_p1": ("medusa-nucleus", "fixed"),
    "medusa_typical_fast_thr0.09_alpha0.3": ("medusa-typical", "fixed"),
    "medusa_typical_fast_thr0.3_alpha0.09": ("medusa-typical-0.3", "fixed"),
    "specinfer_iid": ("specinfer", "sampled"),
    "rrs_without_replacement": ("recursive-rejection", "distinct"),
    "wrong_without_replacement_original_q": ("original-draft-law", "distinct"),
}
"""Name there, without width, to ours and to how drafts come about."""
Case = tuple[str, str, Problem, dict[str, str], str]


def of_problems() -> Iterator[Case]:
    for data in GOLDEN["problems"]:
        for rule, gold in data["rules"].items():
            base, _, width = rule.partition("_k") if "_k" in rule else (rule, "", "1")
            name, drafts = NAMES[base]
            problem = problem_from(data, drafts, int(width))  # type: ignore[arg-type]  # of the table above
            yield f"{data['name']}-{rule}", name, problem, gold["emit"], gold["tv_to_target"]


def of_stars() -> Iterator[Case]:
    for data in GOLDEN["eagle1_official_stars"]["cases"]:
        problem = problem_from({**data, "depth": 1, "draft": {"": data["draft_root"]}}, "distinct", data["k"])
        yield (
            f"{data['name']}-{data['k']}",
            "recursive-rejection",
            problem,
            data["emit_exact"],
            data["tv_to_target"],
        )


def one_hot(data: dict[str, Any], draft: dict[str, Any], chain: list[int]) -> Problem:
    """A fixed chain whose draft law is certain of it."""
    paths = [",".join(map(str, chain[:i])) for i in range(len(chain))]
    law = dict.fromkeys(draft, [1] * data["vocab"])
    for path, token in zip(paths, chain, strict=True):
        law[path] = [int(each == token) for each in range(data["vocab"])]
    tree = {path: [token] for path, token in zip(paths, chain, strict=True)}
    return problem_from({**data, "draft": law, "tree": tree}, "top")


def of_blocks() -> Iterator[Case]:
    for data in GOLDEN["block_verification"]["cases"]:
        drawn = "one-hot" not in data["draft"]
        problem = (
            problem_from({**data, "draft": data["q"]}, "sampled", 1)
            if drawn
            else one_hot(data, data["q"], data["chain"])
        )
        yield f"{data['name']}-block", "block", problem, data["block_emit"], data["block_tv"]
        yield f"{data['name']}-token", "specinfer", problem, data["token_emit"], data["token_tv"]


CASES = {case[0]: case[1:] for part in (of_problems, of_stars, of_blocks) for case in part()}


@pytest.mark.parametrize("case", CASES)
def test_a_law_is_equal_as_rationals(case: str) -> None:
    name, problem, emitted, distance = CASES[case]
    found = law_of_rule(EVERY[name].function, problem)
    assert found.error == 0
    assert {key: weight for key, weight in found.law.items() if weight} == {
        as_path(path): Fraction(weight) for path, weight in emitted.items() if Fraction(weight)
    }
    assert total_variation(completed(found.law, problem), target_law(problem)) == Fraction(distance)


@pytest.mark.parametrize(("is_one_hot", "at"), [(False, 0), (True, 1)])
def test_the_block_rule_as_coded(is_one_hot: bool, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Monte-Carlo entries: within 2e-3, and within the error that is stated."""
    monkeypatch.setattr(boxes, "MAX_UNDECIDED", 1500)
    data = next(each for each in GOLDEN["problems"] if each["name"] == "chain3_v3")
    gold = GOLDEN["vllm_ascend_block_verify_as_coded"]["results"][at]
    assert (gold["problem"], gold["one_hot_draft"]) == ("chain3_v3", is_one_hot)
    problem = (
        one_hot(data, data["draft"], [2, 2, 1])
        if is_one_hot
        else problem_from({**data, "tree": None}, "sampled", 1)
    )
    found = law_of_rule(MISTAKES["block-by-products"].function, problem)
    distance = float(total_variation(completed(found.law, problem), target_law(problem)))
    assert 0 < found.error < 0.02
    assert abs(distance - gold["tv_joint"]) < 2e-3 + 5e-4
    assert abs(distance - gold["tv_joint"]) < found.error + 5e-4
    length = sum(len(path) * float(weight) for path, weight in found.law.items())
    assert abs(length - gold["mean_emitted"]) < 5e-3


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("eagle", "eagle_fixed_tree_q1"),
        ("medusa-typical", "medusa_typical_fast_thr0.09_alpha0.3"),
        ("ratio-on-fixed-drafts", "wrong_fixed_tree_p_over_q"),
        ("resample-full-target", "wrong_accept_p_resample_full_p"),
        ("original-draft-law", "wrong_without_replacement_original_q_k2"),
    ],
)
def test_a_rule_is_named_with_its_distance(name: str, rule: str) -> None:
    data = next(each for each in GOLDEN["problems"] if each["name"] == "tree_2x1_v3")
    gold = data["rules"][rule]
    base, _, width = rule.partition("_k") if "_k" in rule else (rule, "", "1")
    problem = problem_from(data, NAMES[base][1], int(width))  # type: ignore[arg-type]  # of the table above
    found = rule_verdict(EVERY[name], problem, JudgeSettings())
    assert found.total_variation == Fraction(gold["tv_to_target"])
    assert found.verdict == ("lossless" if gold["lossless"] else "not lossless")
    assert (name in found.same_as) == (not gold["lossless"])
    if gold["expected_draws_sprt_alpha_1e-3"]:
        assert found.draws == pytest.approx(gold["expected_draws_sprt_alpha_1e-3"], rel=1e-6)
