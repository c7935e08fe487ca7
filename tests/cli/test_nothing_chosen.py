"""A filter that leaves nothing to look at is refused, or inconclusive; never ok."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Specwb
from tests.cli.pair_dirs import write_pair
from tests.cli.recorded import write_run


@pytest.mark.parametrize("words", [[""], [","], [" , ", ""]])
def test_a_selection_of_no_rule_is_refused(specwb: Specwb, tmp_path: Path, words: list[str]) -> None:
    run = write_run(tmp_path / "run", 2)
    done = specwb("check", run, *(f"--select={word}" for word in words))
    assert (done.exit_code, "--select names no rule" in done.err) == (2, True)


def test_a_selection_that_is_ignored_is_refused(specwb: Specwb, tmp_path: Path) -> None:
    done = specwb("check", write_run(tmp_path / "run", 2), "--select", "TREE", "--ignore", "TREE")
    assert (done.exit_code, "leave no rule" in done.err) == (2, True)


def test_rules_that_nothing_applies_to_are_inconclusive(specwb: Specwb, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 6, change=lambda row: row | {"slots": None})
    done = specwb("check", run, "--select", "KV013", "--format", "json")
    assert (done.exit_code, json.loads(done.out)["verdict"]) == (4, "inconclusive")


@pytest.mark.parametrize("moment", ["9:0:0", "0:9:0", "0:0:999", "0:0:0:verify:999"])
def test_a_moment_that_is_not_there_is_refused(specwb: Specwb, tmp_path: Path, moment: str) -> None:
    done = specwb("view", "--text", write_run(tmp_path / "run", 3), moment)
    assert (done.exit_code, done.out) == (2, "")


def test_a_node_that_is_there_is_shown(specwb: Specwb, tmp_path: Path) -> None:
    assert specwb("view", "--text", write_run(tmp_path / "run", 3), "0:0:0:verify:11").exit_code == 0


@pytest.mark.parametrize(
    "option", [("--step", "99:"), ("--step", "9:0:0"), ("--path", "other"), ("--path", "")]
)
def test_replay_of_what_is_not_there_is_refused(
    specwb: Specwb, tmp_path: Path, option: tuple[str, str]
) -> None:
    assert specwb("replay", write_run(tmp_path / "run", 3), *option).exit_code == 2


@pytest.mark.parametrize("name", ["nothing", ""])
def test_no_fault_is_refused(specwb: Specwb, name: str) -> None:
    assert specwb("faults", "run", name).exit_code == 2


@pytest.mark.parametrize(("name", "text"), [("a.txt", ""), ("b.txt", " \n"), ("c.jsonl", "\n\n")])
def test_an_empty_prompt_is_refused(specwb: Specwb, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert specwb("diff", "--prompt", tmp_path / name).exit_code == 2


def test_some_of_the_steps_are_the_share_of_the_verdict(specwb: Specwb, tmp_path: Path) -> None:
    teacher, drafter = write_pair(tmp_path)
    (tmp_path / "prompt.txt").write_text("hello there hello there")
    given = ["diff", "--prompt", tmp_path / "prompt.txt", "--model", teacher, "--draft", drafter]
    given += ["--tree-nodes", "12", "--depth", "3", "--top-k", "4", "--max-new-tokens", "24"]

    def judged(name: str, *options: str) -> tuple[int, dict[str, int], int]:
        done = specwb(*given, *options, "--out", tmp_path / name, "--format", "json")
        answer = json.loads(done.out)
        return done.exit_code, answer["share"]["steps"], answer["steps"]

    code, share, steps = judged("first", "--steps", "0:3")
    assert steps > 4
    assert (code, share) == (4, {"num": 3, "of": steps})
    code, share, steps = judged("third", "--judge-every", "3")
    assert (share["num"], share["of"]) == (-(-steps // 3), -(-steps // 3))
    code, share, _ = judged("none", "--steps", "23:")
    assert (code, share["num"]) == (4, 0)
