"""Every acceptance rule, on both paths, has exactly the law that is known for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reference.sampling.medusa import typical
from reference.sampling.rules import RULES
from tests.sampling.exact import (
    Emitted,
    Laws,
    Problem,
    drawn_trees,
    fixed_tree,
    floats,
    gap,
    law_of_chooser,
    law_of_rule,
    mixed,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "acceptance_laws.json").read_text())
PROBLEMS = {case["name"]: case for case in GOLDEN["problems"]}
EXACT = 1e-12
SIDES = ("reference", "fused")


def law(side: str, acceptance: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[Problem], Emitted]:
    if side == "reference":
        return partial(law_of_rule, rule=RULES[acceptance])
    return lambda problem: law_of_chooser(problem, acceptance, monkeypatch)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", PROBLEMS)
def test_rules_over_a_fixed_tree(name: str, side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = PROBLEMS[name]
    problem, rules = fixed_tree(case), case["rules"]
    for acceptance, known in (
        ("eagle", "eagle_fixed_tree_q1"),
        ("match", "eagle_fixed_tree_q1"),
        ("medusa_nucleus", "medusa_nucleus_top_p1"),
        ("medusa_typical", "medusa_typical_fast_thr0.09_alpha0.3"),
    ):
        found = law(side, acceptance, monkeypatch)(problem)
        assert gap(found, rules[known]["emit"]) < EXACT, acceptance
    other = partial(typical, threshold=0.3, alpha=0.09)
    known = rules["medusa_typical_fast_thr0.3_alpha0.09"]["emit"]
    assert gap(law_of_rule(problem, other), known) < EXACT


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("name", "width"),
    [("chain1_v3", 1), ("star2_v4", 2), ("tree_full_cover_v3", 2), ("tree_2x1_v3", 1), ("chain3_v3", 1)],
)
def test_rules_over_drawn_trees(name: str, width: int, side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = PROBLEMS[name]
    laws = floats(case["target"]), floats(case["draft"])
    for acceptance, known, replace in (
        ("specinfer", f"specinfer_iid_k{width}", True),
        ("rsd", f"rrs_without_replacement_k{width}", False),
    ):
        trees = drawn_trees(*laws, case["depth"], width, replace=replace)
        found = mixed(trees, law(side, acceptance, monkeypatch))
        assert gap(found, case["rules"][known]["emit"]) < EXACT, acceptance


@pytest.mark.parametrize("side", SIDES)
def test_stars_without_replacement(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in GOLDEN["stars"]:
        draft = {"": floats({"": case["draft_root"]})[""]}
        trees = drawn_trees(floats(case["target"]), draft, 1, case["k"], replace=False)
        found = mixed(trees, law(side, "rsd", monkeypatch))
        assert gap(found, case["emit_exact"]) < EXACT, case["name"]


def drafts_of(case: Any) -> Laws:
    """The drafts' laws; those of a fixed chain are certain of its tokens."""
    if "one-hot" not in case["draft"]:
        return floats(case["q"])
    texts = [",".join(map(str, case["chain"][:place])) for place in range(len(case["chain"]))]
    rows = {text: [0.0] * case["vocab"] for text in texts}
    for text, token_id in zip(texts, case["chain"], strict=True):
        rows[text][token_id] = 1.0
    return rows


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", GOLDEN["blocks"], ids=lambda case: case["name"])
def test_chains_by_blocks_and_by_tokens(case: Any, side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    laws = floats(case["target"]), drafts_of(case)
    for acceptance, known in (("block", "block_emit"), ("rejection", "token_emit")):
        trees = drawn_trees(*laws, case["depth"], 1, replace=True)
        found = mixed(trees, law(side, acceptance, monkeypatch))
        assert gap(found, case[known]) < EXACT, acceptance
