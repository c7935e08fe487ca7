"""`specwb bench` as a user runs it, on a tiny pair: tables, files, going on, refusing, telling."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.cli.pair_dirs import write_pair
from workbench.bench import choices
from workbench.bench.studies import NEEDS, STUDIES, length
from workbench.checkpoints.tokenizer import load_tokenizer
from workbench.cli.run import run_command
from workbench.lockstep.choice import costs, kernels
from workbench.lockstep.choice.decoders import Decoded

Bench = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pair")
    teacher, drafter = write_pair(folder)
    code = [{"task_id": f"HumanEval/{i}", "prompt": f"def f{i}(a, b):\n"} for i in range(2)]
    chat = [{"question_id": 81, "turns": ["Write a line.", " Write more."]}]
    for name, entries in (("code", code), ("chat", chat)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return {
        "model": teacher,
        "draft": drafter,
        "humaneval": folder / "code.jsonl",
        "mt-bench": folder / "chat.jsonl",
    }


@pytest.fixture
def bench(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> Bench:
    def run(*words: object, **given: object) -> tuple[int, str, str]:
        options = {**files, "max-new-tokens": 6, "repetitions": 2, "tree": "6/2/2", "eager": "all", **given}
        capsys.readouterr()
        argv = ["bench", *map(str, words)]
        exit_code = run_command(
            [*argv, *(part for name in options for part in (f"--{name}", str(options[name])))]
        )
        said = capsys.readouterr()
        return exit_code, said.out, said.err

    return run


def test_it_prints_table_one_and_leaves_everything_in_its_folder(
    bench: Bench, files: dict[str, Path], tmp_path: Path
) -> None:
    exit_code, out, _ = bench(out=tmp_path / "run")
    assert exit_code == 0
    assert "Table 1, ours and the paper's" in out
    assert "4 turns, 2 repetitions; tree 6/2/2" in out
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"manifest.json", "turns.jsonl", "turns.csv", "results.json", "report.html"}
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["identity"]["suite"]["turns"] == 4
    lines = [json.loads(line) for line in (tmp_path / "run" / "turns.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines[:4]] == [
        "HumanEval/0",
        "HumanEval/1",
        "mt-bench-81",
        "mt-bench-81",
    ]
    added = load_tokenizer(files["model"]).encode(" Write more.", special_tokens=False)
    assert lines[3]["prompt_tokens"] == lines[2]["prompt_tokens"] + 6 + len(added)
    assert [len(line["token_ids"]) for line in lines] == [6] * 8


POLICY = {
    "format": "specwb-policy-1",
    "choices": {
        "lookup": {"proposer": "lookup", "tree_nodes": 4},
        "searched": {"proposer": "eagle3", "tree": "auto"},
    },
    "rules": [{"name": "always"}],
}


def test_proposers_side_by_side_are_told_apart_in_every_table(
    bench: Bench, files: dict[str, Path], tmp_path: Path
) -> None:
    """A draft model that is the teacher itself is always right; what is looked up is seldom there."""
    folder, policy = tmp_path / "run", tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY))
    given = {"repetitions": 1, "study": "accept-pos", "tree": "4/2/1", "draft": f"eagle3={files['draft']}"}
    words = ("--proposer", "eagle3,lookup,draft_model,auto", "--draft", f"draft_model={files['model']}")
    words += ("--policy", str(policy))
    exit_code, out, err = bench(*words, "--format", "json", out=folder, **given)
    assert exit_code == 0, err
    results = json.loads(out)
    names = [study["name"] for study in results["studies"]]
    assert names == [
        *("proposers", "headline-eagle3", "headline-lookup", "headline-draft-model", "headline-auto"),
        *("auto", "accept-pos"),
    ]
    assert results["studies"][5]["text"][0].startswith("4 requests; choosing took ")
    accepted = {name: one["num_accepted"]["mean"] for name, one in results["summaries"].items()}
    assert accepted["draft_model"] == 3
    assert accepted["draft_model"] > max(accepted["eagle3"], accepted["lookup"])
    lines = [json.loads(line) for line in (folder / "turns.jsonl").read_text().splitlines()]
    assert [len(line["proposers"]) for line in lines] == [4] * 4
    assert {line["proposers"]["auto"]["choice"] for line in lines} <= POLICY["choices"].keys()
    assert all(line["proposers"]["lookup"]["choice"] is None for line in lines)
    assert any("auto reaches" in sentence for sentence in results["studies"][0]["text"])
    assert [line["first"] for line in lines] == ["baseline", "eagle3", "lookup", "draft_model"]
    exit_code, again, _ = bench(*words, "--format", "json", out=folder, **given)
    assert (exit_code, json.loads(again)["studies"]) == (0, results["studies"])


def test_a_second_run_measures_nothing_again_and_says_the_same(bench: Bench, tmp_path: Path) -> None:
    _, first, _ = bench(out=tmp_path / "run")
    before = (tmp_path / "run" / "turns.jsonl").read_bytes()
    exit_code, second, _ = bench(out=tmp_path / "run")
    assert exit_code == 0
    assert second == first
    assert (tmp_path / "run" / "turns.jsonl").read_bytes() == before
    exit_code, _, err = bench(out=tmp_path / "run", tree="8/2/2")
    assert exit_code == 2
    assert "begun with tree '6/2/2', not '8/2/2'" in err


def test_other_text_is_an_exit_code_of_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.bench import session

    real = session.speculative_decoder

    def wrong(*arguments: Any, **options: Any) -> Any:
        decode = real(*arguments, **options)

        def decode_wrongly(prompt: Sequence[int], max_new_tokens: int) -> Decoded:
            decoded = decode(prompt, max_new_tokens)
            text = (*decoded.token_ids[:-1], (decoded.token_ids[-1] + 1) % 256)
            return replace(decoded, token_ids=text)

        return decode_wrongly

    monkeypatch.setattr(session, "speculative_decoder", wrong)
    exit_code, out, _ = bench(out=tmp_path / "run")
    assert exit_code == 1
    assert "8 refused" in out


def test_nothing_measured_is_an_exit_code_of_four(bench: Bench, tmp_path: Path) -> None:
    """Turns that end with their first token have no step to compare."""
    exit_code, _, err = bench(out=tmp_path / "run", **{"max-new-tokens": 1})
    assert exit_code == 4, err


def test_everything_left_to_measurement_and_every_study(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "NUM_PROSE", 0)
    monkeypatch.setattr(choices, "CALIBRATION_TOKENS", (16,))
    monkeypatch.setattr(costs, "ROUNDS", 1)
    monkeypatch.setattr(kernels, "TOKENS", 4)
    monkeypatch.setattr(length, "BEYOND", (560,))
    out_folder = tmp_path / "run"
    options = {"tree": "auto", "eager": "auto", "repetitions": 1, "study": "all", "study-turns": 1}
    exit_code, out, err = bench("--format", "json", out=out_folder, **options)
    assert exit_code == 0, err
    results = json.loads(out)
    names = [study["name"] for study in results["studies"]]
    assert names[:3] == ["headline", "tree", "kernels"]
    assert set(names[3:]) == {
        "temperature",
        *("accept-pos", "budget", "window", "distance", "modes", "commit"),
        *("vocab", "stages", "length", "tree-auto", "generate", "enec", "experts"),
    }
    assert all(study["tables"] for study in results["studies"] if study["name"] != "length")
    assert results["manifest"]["drafts"]["eagle3"]["tree"] in results["studies"][0]["text"][0]
    exit_code, again, err = bench("--format", "json", out=out_folder, **options)
    assert (exit_code, json.loads(again)["studies"]) == (0, results["studies"])
    assert "measuring" not in err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"tree": "60/7"}, "NODES/DEPTH/TOP_K"),
        ({"tree": "8/6/2/1"}, "or with a bound"),
        ({"study": "budget,nothing"}, "got 'nothing'"),
        ({"eager": "norms"}, "got 'norms'"),
        ({"proposer": "eagle3,mtp"}, "got 'mtp'"),
        ({"proposer": "eagle3,lookup"}, "--draft should be KIND=DIR with several proposers"),
        ({"study": "medusa-tree"}, "--study medusa-tree needs --proposer medusa"),
        ({"study": "w4a16"}, "--study w4a16 needs --weights w4a16"),
        ({"study": "generate", "weights": "w4a16"}, "--study generate needs --weights as-is"),
        ({"proposer": "lookup", "draft": "eagle3=x"}, "--draft names eagle3, which --proposer does not"),
        ({"humaneval": "missing.jsonl"}, "cannot read missing.jsonl"),
        ({"max-new-tokens": 4000}, "shorten the prompt or --max-new-tokens"),
    ],
)
def test_bad_words_are_told(bench: Bench, tmp_path: Path, given: dict[str, object], told: str) -> None:
    exit_code, _, err = bench(out=tmp_path / "run", **given)
    assert exit_code == 2
    assert told in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_every_study_of_the_command_line_has_its_module() -> None:
    assert NEEDS.keys() <= STUDIES.keys()
    for name in STUDIES:
        assert callable(import_module(f"workbench.bench.studies.{name.replace('-', '_')}").measure)
