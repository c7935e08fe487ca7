"""From a fault to the folder: small, with the same finding, and with a script that needs torch alone."""

from __future__ import annotations

import ast
import json
import runpy
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tracing.errors import UsageError
from tracing.reader import open_run
from workbench.cli.app import build_app
from workbench.cli.replay_summary import settings_of
from workbench.reduce.asked import case_of_run, models_of_run
from workbench.reduce.case import RunCase
from workbench.reduce.folder import shared
from workbench.reduce.run import Reduced, Wishes, reduce_cases
from workbench.reduce.source import OpenedSource, RunSource, bench_case, opened

FAULT = "next-kv-head"
ALONE = Wishes(workers=0)


@dataclass(frozen=True)
class Made:
    """A reduction with what it was made from."""

    reduced: Reduced
    opened: OpenedSource
    case: RunCase
    told: list[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    source = RunSource(bench="tiny", fault=FAULT)
    models, told = opened(source), list[str]()
    case = bench_case(source)
    case = replace(case, settings=replace(case.settings, max_new_tokens=4))
    folder = tmp_path_factory.mktemp("reduce") / "out"
    return Made(
        reduce_cases(models, [case], folder, ALONE, lambda axis, _: told.append(axis)), models, case, told
    )


def test_little_is_left_and_the_finding_is_the_same(made: Made) -> None:
    before, after = made.reduced.before, made.reduced.after
    target = made.reduced.observed.target
    assert (target.rule, target.stage, target.guilty) == ("JUDGE-PREFILL-KV", "prefill", "fused")
    assert (made.reduced.finding["rule"], made.reduced.finding["stage"]) == (target.rule, target.stage)
    assert (before.tokens, before.nodes, before.vocab) == (5, 12, 64)
    assert (after.tokens, after.nodes, after.depth, after.top_k) == (1, 2, 0, 1)
    assert (after.hidden, after.vocab, after.max_new_tokens) == (16, 16, 1)
    assert after.bytes < before.bytes / 4
    assert made.reduced.whole
    assert {"tokens", "tree", "width", "heads", "options"} <= set(made.told)


def test_the_same_command_takes_it_up_and_runs_nothing_again(made: Made) -> None:
    again = reduce_cases(made.opened, [made.case], made.reduced.folder, ALONE)
    assert again.num_run == 0
    assert again.after == made.reduced.after


def test_the_script_reads_torch_and_its_own_folder_alone(made: Made) -> None:
    tree = ast.parse((made.reduced.folder / "repro.py").read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    named = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    roots = {alias.name.split(".")[0] for node in imported for alias in node.names}
    roots |= {str(node.module).split(".")[0] for node in named}
    assert roots <= {"torch", "workbench", *sys.stdlib_module_names}
    assert [node.module for node in named if str(node.module).startswith("workbench")] == [
        "workbench.reduce.live"
    ]


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    held = ["repro.py"]
    monkeypatch.setattr(sys, "argv", held)
    return held


@pytest.mark.parametrize("live", [False, True])
def test_the_script_reproduces_it_as_recorded_and_live(
    made: Made, arguments: list[str], capsys: pytest.CaptureFixture[str], *, live: bool
) -> None:
    arguments += ["--live"] if live else []
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(made.reduced.folder / "repro.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert ended.value.code == 1
    assert "kv                     DIFFERS" in shown
    assert "teacher.layers.0.attention (attention)" in shown
    assert "\n  attention              DIFFERS" in shown


def test_the_script_ends_with_0_where_the_path_is_mended(
    made: Made, arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The same folder, with nothing planted: `--live` finds nothing any more."""
    for file in made.reduced.folder.rglob("*"):
        if file.is_file():
            target = tmp_path / file.relative_to(made.reduced.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    held = json.loads((tmp_path / "case.json").read_text())
    held["source"]["fault"] = ""
    (tmp_path / "case.json").write_text(json.dumps(held))
    arguments += ["--live"]
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(tmp_path / "repro.py"), run_name="__main__")
    assert ended.value.code == 0
    assert "nothing recomputed here differs" in capsys.readouterr().out


def test_the_folder_has_a_trace_and_a_readme(made: Made) -> None:
    run = open_run(made.reduced.folder / "trace")
    assert run.findings[0].rule == "JUDGE-PREFILL-KV"
    text = (made.reduced.folder / "README.md").read_text()
    assert "| prompt, tokens | 5 | 1 |" in text
    assert "On the same case specwb's own path without the fault is clean" in text
    assert "attention of the teacher" in text
    assert str(made.reduced.folder) not in text


def test_a_recorded_run_gives_its_case(made: Made) -> None:
    run = open_run(made.reduced.folder / "trace")
    case = case_of_run(run, settings_of(run), "float32")
    held = json.loads((made.reduced.folder / "case.json").read_text())["case"]
    assert [list(turn) for turn in case.turns] == held["turns"]
    assert sorted(case.eager) == sorted(held["eager"])
    assert case.settings.tree_nodes == 2
    assert models_of_run(run) == {"model": None, "draft": None, "proposer": "eagle3", "weights": "as-is"}


def test_a_run_without_findings_is_nothing_to_reduce(made: Made) -> None:
    run = open_run(made.reduced.folder / "trace")
    run.findings.clear()
    with pytest.raises(UsageError, match="nothing to reduce"):
        case_of_run(run, settings_of(run), "float32")


def test_what_is_shared_names_no_place_of_this_machine() -> None:
    told = shared(RunSource(model="/home/me/models/secret", draft="/home/me/drafts", fused="mine:factory"))
    assert (told["model"], told["draft"], told["fused"]) == (None, None, "mine:factory")


def test_time_that_is_up_leaves_what_was_reached(made: Made, tmp_path: Path) -> None:
    known = made.reduced.folder / "outcomes.jsonl"
    lines = known.read_text().splitlines(keepends=True)
    (tmp_path / "outcomes.jsonl").write_text("".join(lines[:12]))
    (tmp_path / "begun.json").write_bytes((made.reduced.folder / "begun.json").read_bytes())
    part = reduce_cases(made.opened, [made.case], tmp_path, replace(ALONE, time_limit=1e-9))
    assert not part.whole
    assert part.num_run == 0
    assert made.reduced.after.bytes < part.after.bytes < part.before.bytes
    assert "time limit" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give a recorded RUN, or --prompt"),
        (["--prompt", "x.txt", "--proposer", "auto"], "takes one proposer"),
        (["--prompt", "x.txt", "--fused", "a:b", "--fault", FAULT], "leave --fused out"),
        (["--prompt", "x.txt", "--fault", "d2t-missing"], "not in the path under test"),
    ],
)
def test_what_cannot_be_reduced_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(Exception, match=told):
        CliRunner().invoke(build_app(), ["reduce", *words], catch_exceptions=False, standalone_mode=False)
