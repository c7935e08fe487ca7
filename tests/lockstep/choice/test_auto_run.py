"""`specwb diff --proposer auto` on a tiny pair: chosen by the table, recorded, reproducible, judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.pair_dirs import write_pair
from tracing.reader import open_run
from tracing.settings import DecodeSettings
from workbench.cli.run import run_command
from workbench.judge.recorded.check import check_run
from workbench.lockstep.choice.decide import decide
from workbench.lockstep.choice.facts import PromptFacts
from workbench.lockstep.choice.measured import Measurements, StepCounts
from workbench.lockstep.choice.policy_file import read_policy
from workbench.view.lines import plain_text
from workbench.view.run_view import RunView
from workbench.view.stages import stages_lines
from workbench.view.step import ViewOptions

POLICY = {
    "format": "specwb-policy-1",
    "choices": {
        "lookup": {"proposer": "lookup", "tree_nodes": 5},
        "tree": {"proposer": "eagle3", "tree_nodes": 8, "depth": 2, "top_k": 3},
        "chain": {"proposer": "eagle3", "tree_nodes": 4, "depth": 2, "top_k": 1},
        "heads": {"proposer": "medusa", "static_tree": "0 1"},
    },
    "rules": [
        {"name": "repeats itself", "when": {"overlap": [0.5, None]}, "among": ["lookup"]},
        {
            "name": "is sure",
            "when": {"entropy": [None, 1000.0], "prompt_tokens": [40, None]},
            "among": ["chain"],
        },
        {"name": "otherwise", "among": ["tree", "heads"]},
    ],
}
PROMPTS = [
    {"prompt": "abcdefghijkl", "turns": [" and now for something else that is a good deal longer"]},
    {"prompt": "ab" * 12},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a pair and a policy, and the command without --out."""
    folder = tmp_path_factory.mktemp("auto")
    teacher, drafter = write_pair(folder)
    (folder / "policy.json").write_text(json.dumps(POLICY))
    (folder / "prompts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in PROMPTS))
    argv = ["diff", "--prompt", str(folder / "prompts.jsonl"), "--proposer", "auto", "--eager", "all"]
    argv += ["--model", str(teacher), "--draft", f"eagle3={drafter}", "--max-new-tokens", "8"]
    argv += ["--policy", str(folder / "policy.json"), "--format", "json"]
    return folder, argv


@pytest.fixture(scope="module")
def run(made: tuple[Path, list[str]]) -> Path:
    folder, argv = made
    assert run_command([*argv, "--out", str(folder / "run")]) in {0, 4}
    return folder / "run"


def test_each_turn_is_decoded_by_what_the_table_says(run: Path) -> None:
    opened = open_run(run)
    requests = opened.manifest["choices"]["requests"]
    assert [(each["prompt_id"], each["turn"], each["choice"], each["rule"]) for each in requests] == [
        (0, 0, "tree", "otherwise"),
        (0, 1, "chain", "is sure"),
        (1, 0, "lookup", "repeats itself"),
    ]
    drafted = {(row["prompt_id"], row["turn"]): row["proposer"] for row in opened.path("fused")}
    assert drafted == {(0, 0): "eagle3", (0, 1): "eagle3", (1, 0): "lookup"}
    rows = {(row["prompt_id"], row["turn"]): len(row["token_ids"]) for row in opened.path("fused")}
    assert (rows[0, 0], rows[0, 1]) == (8, 4)
    assert opened.manifest["choices"]["left_out"] == {
        "heads": "no checkpoint of a medusa drafter was given",
    }
    assert opened.manifest["models"]["proposer"] == "auto"


def test_nothing_is_found_and_a_later_check_agrees(run: Path) -> None:
    assert not open_run(run).findings
    checked = check_run(run)
    assert not checked.findings
    limits = open_run(run).manifest["limits"]
    assert limits["max_tree_nodes"] == 8
    assert "top_k" not in limits  # 3 beams at one turn, 1 at another


def test_a_decision_follows_from_what_the_manifest_holds(run: Path, made: Any) -> None:
    folder, _ = made
    held = open_run(run).manifest["choices"]
    measured = Measurements.from_json(held["measured"], "the manifest")
    settings = {name: DecodeSettings(**each) for name, each in held["settings"].items()}
    for request in held["requests"]:
        facts = PromptFacts(**request["facts"])
        again = decide(read_policy(folder / "policy.json"), measured, settings, facts, held["left_out"])
        assert again.as_json() == {name: request[name] for name in again.as_json()}
        rows = [
            row
            for row in open_run(run).path("fused")
            if (row["prompt_id"], row["turn"]) == (request["prompt_id"], request["turn"])
            and row["stop_reason"] is None
        ]
        accepted = sum(len(row["accepted_nodes"]) for row in rows)
        alone = sum(int(row["valid"].sum()) == 1 for row in rows)
        measured.take(again.choice, again.rule, StepCounts(len(rows), accepted, alone))


def test_a_measurement_that_is_kept_gives_the_same_choices(run: Path, made: Any) -> None:
    folder, argv = made
    assert run_command([*argv, "--out", str(folder / "again"), "--measured", str(run)]) in {0, 4}
    first, second = (open_run(each).manifest["choices"] for each in (run, folder / "again"))
    for one, other in zip(first["requests"], second["requests"], strict=True):
        assert {**one, "overhead_ms": None} == {**other, "overhead_ms": None}
    assert first["measured"] == second["measured"]


def test_the_screen_shows_what_was_chosen_and_why(run: Path) -> None:
    step = RunView(run).step(0)
    text = plain_text(stages_lines(step, ViewOptions()))
    assert "chosen for this turn: tree" in text
    assert "rule 'otherwise': for all the rest" in text
    assert "heads left out: no checkpoint of a medusa drafter was given" in text


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--lockstep", "free"], "free lockstep takes one proposer"),
        (["--draft", "DIR"], "should be KIND=DIR"),
        (["--draft", "oracle=DIR"], "should be KIND=DIR"),
        (["--draft", "eagle3=nowhere"], "nowhere"),
        (["--policy", "nowhere.json"], "cannot read policy"),
        (["--measured", "nowhere"], "cannot read nowhere"),
        (["--proposer", "eagle3"], "--policy goes with --proposer auto"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    made: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, more: list[str], told: str
) -> None:
    _, argv = made
    assert run_command([*argv, "--out", str(tmp_path / "run"), *more]) in {2, 3}
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
