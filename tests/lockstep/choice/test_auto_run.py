"""`specwb diff --proposer auto` on a tiny pair: chosen by the table, recorded, reproducible, judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.pair_dirs import write_pair
from tracing.errors import TraceError
from tracing.reader import open_run
from tracing.settings import DecodeSettings
from workbench.cli.run import run_command
from workbench.judge.recorded.check import check_run
from workbench.lockstep.choice.decide import decide
from workbench.lockstep.choice.facts import PromptFacts
from workbench.lockstep.choice.hindsight import looked_up
from workbench.lockstep.choice.measured import Measurements, StepCounts
from workbench.lockstep.choice.policy_file import read_policy
from workbench.lockstep.replay.choices import recorded_choices
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
        "heads": "no checkpoint of kind medusa was given",
    }
    assert opened.manifest["models"]["proposer"] == "auto"


def test_a_run_that_drafted_chains_alone_owes_no_branch(made: Any, capsys: Any) -> None:
    folder, argv = made
    (folder / "short.txt").write_text("ab" * 12)
    argv = [*argv, "--prompt", str(folder / "short.txt"), "--out", str(folder / "chain")]
    capsys.readouterr()
    run_command([*argv, "--measured", str(folder / "run")])
    said = json.loads(capsys.readouterr().out)
    assert [each["choice"] for each in said["choices"]] == ["lookup"]
    assert "no branches" not in said["remark"]


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
        turn = (request["prompt_id"], request["turn"])
        rows = [row for row in open_run(run).path("fused") if (row["prompt_id"], row["turn"]) == turn]
        uncut = [row for row in rows if row["stop_reason"] is None]
        accepted = sum(len(row["accepted_nodes"]) for row in uncut)
        alone = sum(int(row["valid"].sum()) == 1 for row in uncut)
        measured.take(again.choice, again.rule, StepCounts(len(uncut), accepted, alone))
        if again.choice != "lookup":
            *prompt, root = rows[0]["context_token_ids"].tolist()
            text = [root, *(token for row in rows for token in row["emitted_token_ids"].tolist())]
            would = looked_up(prompt, text, settings["lookup"], 1 << 30, frozenset())
            measured.take("lookup", again.rule, would)


def test_a_measurement_that_is_kept_gives_the_same_choices(run: Path, made: Any) -> None:
    folder, argv = made
    assert run_command([*argv, "--out", str(folder / "again"), "--measured", str(run)]) in {0, 4}
    first, second = (open_run(each).manifest["choices"] for each in (run, folder / "again"))
    for one, other in zip(first["requests"], second["requests"], strict=True):
        assert {**one, "overhead_ms": None} == {**other, "overhead_ms": None}
    assert first["measured"] == second["measured"]


def models_of(argv: list[str]) -> list[str]:
    """The options that name models, of a recording's command."""
    return [word for name in ("--model", "--draft") for word in (name, argv[argv.index(name) + 1])]


def test_a_replay_judges_each_turn_with_its_own_drafter(
    run: Path, made: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    _, argv = made
    capsys.readouterr()
    exit_code = run_command(["replay", str(run), *models_of(argv), "--format", "json"])
    said = json.loads(capsys.readouterr().out)
    assert exit_code in {0, 4}, said["findings"]
    assert not said["findings"]
    assert said["steps"] == open_run(run).path("fused").num_steps
    assert set(said["manifest"]["replay"]["models"].values()) == {True}
    assert not any("reference" in reason for reason in said["not_checked"] if reason.startswith("verify"))


def test_a_replay_that_lacks_a_drafter_names_its_kind(
    run: Path, made: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    _, argv = made
    assert run_command(["replay", str(run), *models_of(argv)[:2]]) == 2
    assert "no checkpoint of kind eagle3 was given; give it by --draft" in capsys.readouterr().err


def test_a_turn_is_continued_with_what_was_chosen_for_it(run: Path, made: Any) -> None:
    folder, argv = made
    out = ["--continue", "--step", "0:1:1", "--out", str(folder / "continued")]
    assert run_command(["replay", str(run), *models_of(argv), *out]) in {0, 4}
    rows = list(open_run(folder / "continued").path("fused"))
    assert {(row["proposer"], len(row["token_ids"])) for row in rows} == {("eagle3", 4)}


@pytest.mark.parametrize(
    "changed",
    [
        {"requests": [{"choice": "tree", "prompt_id": "0", "turn": 0}]},
        {"requests": [{"choice": "none", "prompt_id": 0, "turn": 0}]},
        {"settings": {"tree": {"tree_nodes": "8"}}},
        {"settings": {"tree": {"tree_nodes": 0}}},
        {"proposers": {"tree": "oracle"}},
        {"requests": 3},
    ],
)
def test_choices_of_another_kind_are_refused(run: Path, changed: dict[str, Any]) -> None:
    manifest = {"choices": {**open_run(run).manifest["choices"], **changed}}
    with pytest.raises(TraceError, match="choices of the manifest"):
        recorded_choices(manifest)


def test_the_screen_shows_what_was_chosen_and_why(run: Path) -> None:
    step = RunView(run).step(0)
    text = plain_text(stages_lines(step, ViewOptions()))
    assert "chosen for this turn: tree" in text
    assert "rule 'otherwise': for all the rest" in text
    assert "heads left out: no checkpoint of kind medusa was given" in text


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
