"""`specwb diff` as a user runs it, on checkpoints that are written for the test in each drafter layout."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import synthetic
from tracing.reader import open_run
from workbench.cli.run import run_command

ROOT = Path(__file__).resolve().parents[2]
SHAPE = ["--tree-nodes", "12", "--depth", "3", "--top-k", "4", "--max-new-tokens", "12"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("teacher") / "t"
    synthetic.hf_teacher(directory)
    return directory


@pytest.fixture(scope="module")
def drafter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.official(tmp_path_factory.mktemp("drafter") / "d")


@dataclass(frozen=True)
class Done:
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


def specwb(*arguments: str, cwd: Path, text: str | None = None) -> Done:
    """Run a command in this process, from another folder, with what it reads and prints."""
    out, err = io.StringIO(), io.StringIO()
    path, stdin = list(sys.path), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO((text or "").encode()), "utf-8")
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command(arguments)
    finally:
        sys.stdin, sys.path[:] = stdin, path
        sys.modules.pop("own_port", None)
    return Done(code, out.getvalue(), err.getvalue())


def in_a_process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, str(ROOT / "specwb.py"), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def diff(
    teacher: Path, drafter: Path, cwd: Path, *more: str, prompt: str = "abc def", run: Any = specwb
) -> Any:
    (cwd / "prompt.txt").write_text(prompt)
    models = ["--model", str(teacher), "--draft", str(drafter)]
    return run("diff", "--prompt", "prompt.txt", *models, *SHAPE, *more, cwd=cwd)


def test_a_kind_of_drafter_that_is_not_there_is_a_usage_error(
    teacher: Path, drafter: Path, tmp_path: Path
) -> None:
    done = diff(teacher, drafter, tmp_path, "--proposer", "nothing")
    assert done.returncode == 2
    assert "'nothing' is not one of 'eagle3', 'medusa', 'lookup', 'draft_model'" in done.stderr


def test_json_has_what_ci_reads(teacher: Path, drafter: Path, tmp_path: Path) -> None:
    edges = ["--distance-edges", "0,8,64"]
    done = diff(teacher, drafter, tmp_path, "--format", "json", "--out", "run", *edges, run=in_a_process)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["verdict"] == "ok"
    assert said["first_divergence"] is None
    assert len(said["emitted_token_ids"]) == 1
    assert len(said["emitted_token_ids"][0]) <= 12
    assert {"steps", "mean_accepted", "near_ties", "run", "invariants", "coverage"} <= said.keys()
    recorded = open_run(tmp_path / "run")
    assert recorded.status == "complete"
    assert recorded.manifest["distance_edges"] == [0, 8, 64]
    assert recorded.path("fused").num_steps == said["steps"]


@pytest.mark.parametrize("layout", ["specforge", "speculators"])
def test_other_drafter_layouts_decode_alike(
    teacher: Path, drafter: Path, tmp_path: Path, layout: str
) -> None:
    other = getattr(synthetic, layout)(tmp_path / "other")
    ours = json.loads(diff(teacher, drafter, tmp_path, "--format", "json").stdout)
    theirs = diff(teacher, other, tmp_path, "--format", "json")
    assert theirs.returncode == 0, theirs.stderr
    assert json.loads(theirs.stdout)["emitted_token_ids"] == ours["emitted_token_ids"]


def test_free_lockstep(teacher: Path, drafter: Path, tmp_path: Path) -> None:
    done = diff(teacher, drafter, tmp_path, "--lockstep", "free")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("verdict     ok")


def test_free_lockstep_with_a_port_that_raises_is_a_finding(
    teacher: Path, drafter: Path, tmp_path: Path
) -> None:
    (tmp_path / "own_port.py").write_text(
        "from dataclasses import replace\n"
        "from workbench.fused.path import make_path\n"
        "def verify(state, tensorized):\n"
        "    raise RuntimeError('aicore exception 507015')\n"
        "def factory(pair, settings, *, device, dtype):\n"
        "    path = make_path(pair, settings, device=device, dtype=dtype)\n"
        "    return replace(path, stages=replace(path.stages, verify=verify))\n"
    )
    done = diff(teacher, drafter, tmp_path, "--fused", "own_port:factory", "--lockstep", "free")
    assert done.returncode == 1, done.stderr
    assert "507015" in done.stdout


def test_a_port_with_one_stage(teacher: Path, drafter: Path, tmp_path: Path) -> None:
    (tmp_path / "own_port.py").write_text((ROOT / "examples" / "partial_port.py").read_text())
    done = diff(teacher, drafter, tmp_path, "--fused", "own_port:factory")
    assert done.returncode == 0, done.stderr
    assert "not checked: commit, draft, prefill, tensorize, verify" in done.stdout


def test_what_no_rule_looked_at_is_said_on_request(teacher: Path, drafter: Path, tmp_path: Path) -> None:
    """Every outcome that is counted as not checked has its reason, rule by rule."""
    done = diff(teacher, drafter, tmp_path, "-v")
    assert done.returncode == 0, done.stderr
    assert "not checked fused IDX001, IDX002: column index_sites was not recorded (" in done.stdout
    assert "-v says why" not in done.stdout


def test_turns_from_jsonl(teacher: Path, drafter: Path, tmp_path: Path) -> None:
    line = json.dumps({"prompt": "abc", "turns": [" def"]})
    models = ["--model", str(teacher), "--draft", str(drafter)]
    (tmp_path / "turns.jsonl").write_text(line + "\n")
    done = specwb("diff", "--prompt", "turns.jsonl", *models, *SHAPE, "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len(said["emitted_token_ids"]) == 2
    assert said["coverage"]["later_turns"] > 0


BAD = {
    "no such prompt": (["--prompt", "nope.txt"], 2, "no prompt file nope.txt"),
    "empty prompt": (["--prompt", "empty.txt"], 2, "is empty"),
    "binary prompt": (["--prompt", "binary.txt"], 2, "UTF-8"),
    "not a turn": (["--prompt", "bad.jsonl"], 2, "line 1"),
    "too long": (["--prompt", "long.txt"], 2, "shorten the prompt"),
    "no such model": (["--prompt", "ok.txt", "--model", "nowhere"], 3, "nowhere"),
    "no such factory": (["--prompt", "ok.txt", "--fused", "nothing:here"], 2, "nothing"),
    "bad steps": (["--prompt", "ok.txt", "--steps", "x"], 2, "--steps"),
    "no step in the range": (["--prompt", "ok.txt", "--steps", "5:2"], 2, "5:2 holds none"),
    "an empty range": (["--prompt", "ok.txt", "--steps", "5:5"], 2, "5:5 holds none"),
    "steps beyond the turn": (["--prompt", "ok.txt", "--steps", "5000:"], 2, "new tokens end it before"),
    "unknown operator": (["--prompt", "ok.txt", "--eager", "softmax"], 2, "softmax"),
    "folder in use": (["--prompt", "ok.txt", "--out", "taken"], 2, "already holds a run"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_sentence_and_its_exit_code(
    teacher: Path, drafter: Path, tmp_path: Path, name: str
) -> None:
    arguments, exit_code, sentence = BAD[name]
    (tmp_path / "ok.txt").write_text("abc")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.jsonl").write_text('{"turns": []}\n')
    (tmp_path / "long.txt").write_text("abc def " * 3000)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "manifest.json").write_text("{}")
    models = ["--model", str(teacher), "--draft", str(drafter)]
    done = specwb("diff", *models, *arguments, *SHAPE, cwd=tmp_path)
    assert done.returncode == exit_code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_prompt_from_standard_input(teacher: Path, drafter: Path, tmp_path: Path) -> None:
    models = ["--model", str(teacher), "--draft", str(drafter)]
    done = specwb("diff", "--prompt", "-", *models, *SHAPE, cwd=tmp_path, text="abc def")
    assert done.returncode == 0, done.stderr
