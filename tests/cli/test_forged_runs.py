"""Whatever is forged in the structure of a run, every command ends with a documented code and a sentence."""

from __future__ import annotations

import json
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.tracing.forging import FORGERS, NASTY, forge_findings
from tracing.findings_log import decode_finding
from tracing.integrity import verify_run
from tracing.manifest import read_manifest, write_manifest
from tracing.reader import open_run
from tracing.recorder import RunWriter
from workbench.cli.run import run_command

GOLDEN = Path(__file__).parents[1] / "tracing" / "golden" / "1.1"
COMMANDS = (
    *(["check", "RUN", "--format", name] for name in ("text", "json", "junit", "sarif", "github")),
    *(["trace", name, "RUN", "--format", form] for name in ("info", "verify") for form in ("text", "json")),
    *(["trace", name, "RUN", "OUT"] for name in ("repair", "migrate")),
    ["trace", "export", "RUN", "OUT", "--parquet"],
    ["trace", "slice", "RUN", "OUT", "--first", "0:0:0"],
    ["trace", "merge", "RUN", "OTHER", "--out", "OUT"],
    *(["view", "RUN", "--text"], ["diff", "RUN", "OTHER"], ["diff", "OTHER", "RUN", "--format", "json"]),
    *(["replay", "RUN"], ["replay", "RUN", "--format", "json"]),
)
DOCUMENTED = {0, 1, 2, 3, 4}


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    return {"RUN": str(tmp_path / "run"), "OTHER": str(GOLDEN / "closed"), "OUT": str(tmp_path / "out")}


def run_on(place: dict[str, str], command: list[str]) -> int:
    shutil.rmtree(place["OUT"], ignore_errors=True)
    return run_command([place.get(word, word) for word in command])


def copy_of(name: str, place: dict[str, str]) -> Path:
    shutil.rmtree(place["RUN"], ignore_errors=True)
    return Path(shutil.copytree(GOLDEN / name, place["RUN"]))


@pytest.mark.parametrize("part", list(FORGERS))
def test_every_command_ends_clearly_on_a_forged_run(
    place: dict[str, str], capsys: pytest.CaptureFixture[str], part: str
) -> None:
    for seed in range(60):
        chance = random.Random(seed)
        folder = copy_of("killed" if part == "journal" else chance.choice(["closed", "killed"]), place)
        FORGERS[part](folder, chance)
        command = chance.choice(COMMANDS)
        code = run_on(place, command)
        said = capsys.readouterr().err
        assert code in DOCUMENTED, (seed, command, said)
        assert "Traceback" not in said


def _instead(forged: Any, _line: Any, _chance: random.Random) -> Any:
    return forged


@pytest.mark.parametrize("key", ["prompt_id", "node", "fused", "gap", "allowance", "message", "frames", None])
def test_every_value_of_a_finding_is_bounded(place: dict[str, str], key: str | None) -> None:
    folder = copy_of("closed", place)
    (line,) = (json.loads(each) for each in (folder / "findings.jsonl").read_bytes().splitlines())
    original = (folder / "findings.jsonl").read_bytes(), (folder / "manifest.json").read_bytes()
    for value in NASTY:
        (folder / "findings.jsonl").write_bytes(original[0])
        (folder / "manifest.json").write_bytes(original[1])
        forged = line | ({key: value} if key else {"gap": value, "allowance": value, "verdict": "numeric"})

        forge_findings(folder, random.Random(0), partial(_instead, forged))
        for finding in open_run(folder).findings:
            assert all(type(each) in {float, int, type(None)} for each in (finding.gap, finding.allowance))
        if any(type(value) is kind for kind in (int, float, str)):  # others are refused as they are read
            for command in (["replay", "RUN"], ["trace", "export", "RUN", "OUT", "--parquet"]):
                assert run_on(place, command) in DOCUMENTED, (key, value, command)


def test_a_gap_that_is_not_finite_comes_back_as_a_number() -> None:
    from tracing.finding import Finding
    from tracing.findings_log import encode_finding
    from tracing.moment import Moment

    for gap in (float("inf"), 2.5, None):
        made = Finding("numeric", "fused", Moment(0, 0, 0), "logits", gap=gap, allowance=0.5, fused=10**30)
        read = decode_finding(encode_finding(made, "r").rstrip(b"\n"))
        assert read.gap == gap
        assert read.fused == "an integer of 100 bits"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("name", ["closed", "killed"])
def test_a_run_without_its_manifest_is_read_and_repaired(
    place: dict[str, str], version: str, name: str
) -> None:
    folder = Path(shutil.copytree(GOLDEN.parent / version / name, place["RUN"]))
    steps = {each: open_run(folder).path(each).num_steps for each in open_run(folder).path_names}
    (folder / "manifest.json").unlink()
    health = verify_run(folder)
    assert health.state == "corrupt"
    assert health.num_steps == steps
    assert run_command(["trace", "repair", place["RUN"], place["OUT"]]) == 0
    repaired = open_run(place["OUT"])
    assert {each: repaired.path(each).num_steps for each in repaired.path_names} == steps
    assert run_command(["check", place["OUT"]]) != 0
    assert run_command(["check", place["RUN"]]) == 2


def test_a_new_recording_never_truncates_a_run_that_lost_its_manifest(place: dict[str, str]) -> None:
    folder = copy_of("closed", place)
    (folder / "manifest.json").unlink()
    before = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}
    with pytest.raises(Exception, match="without a manifest; choose another folder"):
        RunWriter(folder)
    assert {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()} == before


def test_a_folder_with_other_arrow_files_is_still_no_run(tmp_path: Path) -> None:
    (tmp_path / "data.arrows").write_bytes(b"\xff" * 64)
    assert run_command(["trace", "info", str(tmp_path)]) == 2
    RunWriter(tmp_path).close()


def test_limits_of_a_manifest_that_are_no_sizes_are_refused_by_name(
    place: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for value in (0, -1, 10**30):
        folder = copy_of("closed", place)
        write_manifest(folder, read_manifest(folder) | {"limits": {"top_k": value}})
        assert run_command(["check", str(folder)]) == 2
        assert "top_k should be from 1 on" in "".join(capsys.readouterr())
