"""A policy file: what it may say, and what is refused with its place."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tracing.errors import UsageError
from tracing.settings import DecodeSettings
from workbench.lockstep.choice.facts import PromptFacts
from workbench.lockstep.choice.policy_file import read_policy

GOOD: dict[str, Any] = {
    "format": "specwb-policy-1",
    "about": "a test",
    "probe": {"model": "probe", "template": "{prompt}?", "labels": {"code": "c", "chat": "t"}, "gate": 0.3},
    "teachers": {"small": "small"},
    "choices": {
        "lookup": {"proposer": "lookup", "tree_nodes": 5},
        "wide": {"proposer": "eagle3", "tree_nodes": 20, "depth": 3, "top_k": 4, "draft": "e"},
        "tree": {"proposer": "eagle3", "tree": "auto", "accepted": 1.5},
        "heads": {"proposer": "medusa", "static_tree": "0 1 0.0"},
        "tiny": {"proposer": "lookup", "teacher": "small"},
    },
    "rules": [
        {"name": "code", "when": {"label": ["code"]}, "among": ["lookup", "wide"]},
        {"name": "long", "when": {"prompt_tokens": [100, None]}, "among": ["lookup"]},
        {"name": "rest"},
    ],
}


def written(folder: Path, held: object) -> Path:
    path = folder / "policy.json"
    path.write_text(json.dumps(held))
    return path


def test_a_good_file_is_read_whole(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, GOOD))
    base = DecodeSettings(max_new_tokens=7, kv_layout="paged", lookup_max=4)
    assert policy.choices["wide"].settings(base) == DecodeSettings(
        tree_nodes=20, depth=3, top_k=4, max_new_tokens=7, kv_layout="paged", lookup_max=4
    )
    assert policy.choices["heads"].settings(base).tree_nodes == 4
    assert policy.choices["wide"].draft == tmp_path / "e"
    assert policy.teachers == {"small": tmp_path / "small"}
    assert policy.question is not None
    assert (policy.question.before, policy.question.after) == ("", "?")
    assert [rule.among for rule in policy.rules] == [("lookup", "wide"), ("lookup",), None]
    assert not policy.asks_entropy


def test_the_shipped_one_is_read_and_says_that_it_is_ours() -> None:
    policy = read_policy()
    assert str(policy.source["about"]).startswith("Ours.")
    assert {choice.proposer for choice in policy.choices.values()} == {
        *("eagle3", "medusa", "lookup", "draft_model"),
    }


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        (PromptFacts(10, label="code"), "code"),
        (PromptFacts(10, label="chat"), "rest"),
        (PromptFacts(10), "rest"),
        (PromptFacts(100), "long"),
        (PromptFacts(500, label="code"), "code"),
    ],
)
def test_the_first_rule_that_holds_decides(tmp_path: Path, facts: PromptFacts, rule: str) -> None:
    assert read_policy(written(tmp_path, GOOD)).rule_for(facts).name == rule


def test_a_fact_that_nobody_knows_meets_no_condition(tmp_path: Path) -> None:
    held = {**GOOD, "rules": [{"name": "sure", "when": {"entropy": [None, None]}}, {"name": "rest"}]}
    policy = read_policy(written(tmp_path, held))
    assert policy.asks_entropy
    assert policy.rule_for(PromptFacts(3)).name == "rest"
    assert policy.rule_for(PromptFacts(3, entropy=2.0)).name == "sure"
    assert policy.rule_for(PromptFacts(3, entropy=float("nan"))).name == "sure"


BAD: list[tuple[tuple[Any, ...], Any, str]] = [
    (("format",), "specwb-policy-9", "format should be"),
    (("extra",), 1, "the file should hold"),
    (("teachers", "main"), "x", "teachers.main"),
    (("choices",), {}, "choices should have 1"),
    (("choices", "lookup", "proposer"), "oracle", "choices.lookup.proposer"),
    (("choices", "lookup", "teacher"), "large", "choices.lookup.teacher"),
    (("choices", "lookup", "tree_nodes"), 1, "choices.lookup: tree_nodes"),
    (("choices", "lookup", "tree_nodes"), True, "choices.lookup.tree_nodes"),
    (("choices", "lookup", "window"), 3, "got 'window'"),
    (("choices", "tree", "depth"), 3, "choices.tree.tree is auto"),
    (("choices", "heads", "static_tree"), "0.0", "choices.heads: static_tree"),
    (("choices", "tree", "accepted"), -1, "choices.tree.accepted"),
    (("choices", "a\x1b[2J"), {"proposer": "lookup"}, "printable"),
    (("probe", "labels"), {"code": "c"}, "two classes"),
    (("probe", "template"), "no place", "template should hold"),
    (("probe", "gate"), "low", "probe.gate"),
    (("rules",), [], "rules should be a list"),
    (("rules", 0, "when", "label"), ["poem"], "rules[0].when.label"),
    (("rules", 1, "when", "prompt_tokens"), [9, 3], "rules[1].when.prompt_tokens"),
    (("rules", 1, "when", "mood"), [1, 2], "got 'mood'"),
    (("rules", 1, "among"), ["none"], "rules[1].among"),
    (("rules", 1, "name"), "code", "'code' twice"),
    (("rules", 2, "when"), {"overlap": [0, 1]}, "last rule"),
]


@pytest.mark.parametrize(("place", "value", "told"), BAD, ids=[told for *_, told in BAD])
def test_a_word_without_a_meaning_is_refused_with_its_place(
    tmp_path: Path, place: tuple[Any, ...], value: Any, told: str
) -> None:
    held = copy.deepcopy(GOOD)
    inner: Any = held
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    with pytest.raises(UsageError) as refused:
        read_policy(written(tmp_path, held))
    assert told in str(refused.value)
    assert "policy.json" in str(refused.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"format": 1, "format": 1}', '{"a": NaN}', "\ufeff{}"])
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"policy\.json"):
        read_policy(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read policy"):
        read_policy(tmp_path / "none.json")
