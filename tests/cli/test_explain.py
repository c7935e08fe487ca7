"""`specwb explain`: every rule of every catalogue has a page, and a slip of the pen finds it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from invariants.catalogue import CATALOGUE
from pages.rules import GUARDS, index_text, page
from tests.cli.conftest import Specwb
from workbench.judge.rules import RULES as JUDGE_RULES
from workbench.view.rule_index import INDEX, rule_index


def test_without_a_rule_all_are_listed(specwb: Specwb) -> None:
    answer = specwb("explain")
    listed = {line.split()[0] for line in answer.out.splitlines()}
    assert listed == {rule.id for rule in CATALOGUE} | set(JUDGE_RULES) | {guard.id for guard in GUARDS}
    assert answer.exit_code == 0


@pytest.mark.parametrize("word", ["MASK001", "mask001", "non-ancestor-visible"])
def test_a_page_by_id_or_name(specwb: Specwb, word: str) -> None:
    answer = specwb("explain", word)
    assert answer.out.startswith("# MASK001 non-ancestor-visible")
    for heading in ("What it does", "Why it matters", "Example", "Seen in"):
        assert f"## {heading}" in answer.out


def test_a_family_is_listed(specwb: Specwb) -> None:
    lines = specwb("explain", "POS").out.splitlines()
    assert [line.split()[0] for line in lines] == [rule.id for rule in CATALOGUE if rule.family == "POS"]


def test_a_slip_is_met_with_a_guess(specwb: Specwb) -> None:
    answer = specwb("explain", "MAKS001")
    assert answer.exit_code == 2
    assert "did you mean MASK001" in answer.err
    assert specwb("explain", "non-ancestor-visable").err.count("non-ancestor-visible") == 1
    assert "lists all" in specwb("explain", "??").err


def test_judge_rules_have_pages(specwb: Specwb) -> None:
    answer = specwb("explain", "JUDGE-COMMIT-ROWS")
    assert "wrong-row-moved" in answer.out
    assert "Row L + j holds the bits" in answer.out


def test_operator_rules_have_pages(specwb: Specwb) -> None:
    answer = specwb("explain", "NPU-FIA-MASK-DTYPE")
    assert "npu_fused_infer_attention_score" in answer.out
    assert "On the device:" in answer.out


ROOT = Path(__file__).parents[2]
RULE_ID = re.compile(r"(JUDGE|RUN|CACHE|TREE|NPU)(-[A-Z0-9]+)+")


def test_every_rule_that_code_can_name_has_a_page() -> None:
    """A finding whose rule nobody can look up is a riddle."""
    named = {
        node.value
        for file in (ROOT / "workbench").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and RULE_ID.fullmatch(node.value)
    }
    assert len(named) > 100
    assert named <= set(rule_index())


def test_the_index_is_current() -> None:
    stale = "stale: python -m pages.rules docs/rules.md"
    assert INDEX.read_text("utf-8") == index_text(), stale
    assert (ROOT / "docs" / "rules.md").read_text("utf-8") == page(), stale


def test_an_explanation_needs_neither_torch_nor_the_rules() -> None:
    program = "import sys, workbench.cli.explain as e; e.rule_index(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "invariants.catalogue"} & set(done.stdout.split())


def test_json(specwb: Specwb) -> None:
    pages = json.loads(specwb("explain", "TREE001", "--format", "json").out)
    assert [(page["id"], page["kind"]) for page in pages] == [("TREE001", "invariant")]
