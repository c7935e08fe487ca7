"""The pytest plugin in strangers' projects, which may have packages with our names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.recorded import write_run
from tests.cli.test_check import leak

ROOT = Path(__file__).parents[2]

USER_TEST = """
import sys
import tracing
import invariants.families
import workbench

PARENTS = [0, 0, 0, 1]
COLUMNS = dict(
    committed_len=5, token_ids=[7, 5, 6, 8], depths=[0, 1, 1, 2], valid=[True] * 4,
    position_ids=[5, 6, 6, 7], cache_positions=[5, 6, 7, 8],
)

def test_ours_is_ours():
    assert tracing.WHOSE == workbench.WHOSE == invariants.families.WHOSE == "the user's"

def test_a_sound_engine(specwb_recorder):
    with specwb_recorder.step(step=0) as step:
        step.record(parents=PARENTS, **COLUMNS)
    assert tracing.WHOSE == "the user's"

def test_a_broken_engine(specwb_recorder):
    specwb_recorder.record(step=0, parents=[0, 0, 0, 9], **COLUMNS)

def test_that_records_nothing(specwb_recorder):
    pass

def test_that_fails_by_itself(specwb_recorder):
    specwb_recorder.record(step=0, parents=[0, 0, 0, 9], **COLUMNS)
    raise ValueError("the user's own failure")

def test_wrong_names_are_refused(specwb_recorder):
    with specwb_recorder.step(step=0) as step:
        try:
            step.record(parnets=PARENTS)
        except KeyError as error:
            assert "parents" in str(error)
        step.record(parents=PARENTS, **COLUMNS)

def test_limits_are_known(specwb_recorder):
    specwb_recorder.manifest["limits"] = {"vocab_size": 8}
    specwb_recorder.record(step=0, parents=PARENTS, **COLUMNS)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with its own `tracing/`, `invariants/` and `workbench/` packages on its path."""
    for name in ("tracing", "invariants", "invariants/families", "workbench"):
        (tmp_path / "project" / name).mkdir(parents=True)
        (tmp_path / "project" / name / "__init__.py").write_text('WHOSE = "the user\'s"\n')
    (tmp_path / "project" / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['.']\n")
    return tmp_path / "project"


def run_pytest(project: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """The workbench's folder is on the path after the project's, as an installed package would be."""
    code = "import sys; sys.path.append(sys.argv.pop(1)); import pytest; sys.exit(pytest.main())"
    return subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            str(ROOT),
            "-p",
            "specwb",
            "-p",
            "no:cacheprovider",
            "-W",
            "error",
            *argv,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=project,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": ""},
    )


def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Test name to PASSED, FAILED or SKIPPED, as `-v` says."""
    lines = (line.split() for line in done.stdout.splitlines() if "::" in line)
    return {
        words[0].rpartition("::")[2]: words[1]
        for words in lines
        if len(words) > 1 and words[1] in {"PASSED", "FAILED", "SKIPPED", "ERROR"}
    }


def test_the_recorder_beside_packages_of_the_same_names(project: Path) -> None:
    (project / "test_engine.py").write_text(USER_TEST)
    done = run_pytest(project, "-v")
    assert outcome(done) == {
        "test_ours_is_ours": "PASSED",
        "test_a_sound_engine": "PASSED",
        "test_a_broken_engine": "FAILED",
        "test_that_records_nothing": "FAILED",
        "test_that_fails_by_itself": "FAILED",
        "test_wrong_names_are_refused": "PASSED",
        "test_limits_are_known": "FAILED",
    }, done.stdout + done.stderr
    assert "0:0:0:tensorize:3 TREE001 fused: node 3 has parent 9" in done.stdout
    assert "recorded no step" in done.stdout
    assert "During handling of the above exception" not in done.stdout
    assert "the user's own failure" in done.stdout
    assert "IDX003" in done.stdout


def test_one_item_per_trace_and_invariant(project: Path, tmp_path: Path) -> None:
    good, bad = write_run(tmp_path / "good"), write_run(tmp_path / "bad", change=leak)
    done = run_pytest(project, "-v", "--specwb-trace", str(good), "--specwb-trace", str(bad))
    said = [tuple(line.split()[:2]) for line in done.stdout.splitlines() if "::" in line and "[" in line]
    assert done.returncode == 1, done.stdout + done.stderr
    failed = [Path(name).name for name, word in said if word == "FAILED"]
    assert failed == ["bad::MASK001-non-ancestor-visible"]
    assert ("good::trace-is-whole", "PASSED") in [(Path(name).name, word) for name, word in said]
    assert any(word == "SKIPPED" for _, word in said)
    assert "0:0:2:verify:11 MASK001 fused: " in done.stdout
    assert "Traceback" not in done.stdout


def test_items_can_be_chosen(project: Path, tmp_path: Path) -> None:
    bad = write_run(tmp_path / "bad", change=leak)
    assert run_pytest(project, "--specwb-trace", str(bad), "-k", "TREE001").returncode == 0
    assert run_pytest(project, "--specwb-trace", str(bad), "--specwb-ignore", "MASK,ACC").returncode == 0
    (project / "pyproject.toml").write_text('[tool.specwb]\nselect = ["POS"]\n')
    done = run_pytest(project, "-v", "--specwb-trace", str(bad))
    assert done.returncode == 0
    assert all(name.startswith(("POS", "trace-is-whole")) for name in outcome(done))


def test_a_missing_trace_is_a_usage_error(project: Path) -> None:
    done = run_pytest(project, "--specwb-trace", "nowhere")
    assert done.returncode == 4
    assert "is no recorded run" in done.stderr + done.stdout


def test_a_damaged_trace_fails(project: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 100)
    stream = run / "fused.arrows"
    stream.write_bytes(stream.read_bytes()[:-300])
    done = run_pytest(project, "-v", "--specwb-trace", str(run))
    assert outcome(done)["trace-is-whole"] == "FAILED"
    assert "torn" in done.stdout


def test_the_plugin_is_inert_where_nobody_asks(project: Path) -> None:
    """In an engine's environment it imports none of what the engine's own tests import, nor our packages."""
    heavy = "{'numpy', 'pyarrow', 'torch', 'tracing', 'invariants', 'workbench', 'reference', 'vllm'}"
    test = f"import sys\nSEEN = {heavy} & set(sys.modules)\n\ndef test_nothing():\n    assert not SEEN\n"
    (project / "test_engine.py").write_text(test)
    done = run_pytest(project, "test_engine.py", "-v")
    assert outcome(done) == {"test_nothing": "PASSED"}, done.stdout


def test_the_front_door_imports_nothing_of_ours(project: Path) -> None:
    """Loading the plugin takes none of our public names, and needs neither numpy nor pytest."""
    code = (
        "import sys; sys.path.append(sys.argv[1]); import specwb\n"
        "assert not {'tracing', 'invariants', 'workbench', 'numpy', 'pytest'} & set(sys.modules)\n"
        "specwb.private('tracing.recorder'); specwb.private('workbench.cli.plugin.hooks')\n"
        "assert not {'tracing', 'invariants', 'workbench', 'reference'} & set(sys.modules)\n"
        "import tracing; assert tracing.WHOSE\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], check=False, cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
