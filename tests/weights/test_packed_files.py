"""Packed files and the command: the original byte for byte, a teacher by digest, damage named.

Which bugs these catch: a tensor under another name, dtype or shape; an integer tensor that is coded as a
float; damage that is decoded; a report of "ok" about what nobody looked at.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.weights.golden_enec import generated, special_values
from tracing.errors import CheckpointError
from workbench.checkpoints.digests import weights_digest
from workbench.checkpoints.files import read_weights
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.packed_file import mapped, open_packed, write_packed
from workbench.checkpoints.shipped import shipped_pair_dirs
from workbench.cli.run import run_command
from workbench.weights.floats import BFLOAT16, FLOAT32
from workbench.weights.parameters import Parameters
from workbench.weights.published import write_stream

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_command(["weights", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def tensors() -> dict[str, torch.Tensor]:
    bits = torch.from_numpy(
        np.array(generated(BFLOAT16, 40000, seed=3, centre=120, lo=90, hi=126, up=1)).view(np.int16)
    )
    special = torch.tensor([0.0, -0.0, float("inf"), float("nan"), 1e-45, 3.5])
    return {
        "half": bits.view(torch.bfloat16).view(200, 200),
        "special": special,
        "special.half": special.half(),
        "ids": torch.arange(1000),
        "flags": torch.tensor([True, False]),
        "none": torch.zeros(0, 3),
        "one": torch.tensor(2.5),
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(tensors(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "model.safetensors"


def test_a_file_comes_back_byte_for_byte(file: Path, tmp_path: Path, run: Run) -> None:
    packed, back = tmp_path / "packed", tmp_path / "back"
    assert run("pack", file, packed)[0] == 0
    assert packed.stat().st_size < 0.9 * file.stat().st_size
    assert run("unpack", packed, back)[0] == 0
    assert back.read_bytes() == file.read_bytes()
    code, out, _ = run("verify", packed, "--original", file)
    assert (code, out.splitlines()) == (
        0,
        [
            f"ok: {packed}, a packed file of weights",
            "  looked at: header, and 7 tensors decoded with their checksums",
            f"  looked at: every bit against {file}",
        ],
    )


def test_a_packed_directory_loads_with_the_same_bits(file: Path, tmp_path: Path) -> None:
    plain = read_weights(file.parent)
    (tmp_path / "packed").mkdir()
    write_packed(file, tmp_path / "packed" / "model.safetensors.enec")
    packed = read_weights(tmp_path / "packed")
    assert weights_digest(packed) == weights_digest(plain)
    assert {name: tensor.shape for name, tensor in packed.items()} == {
        name: tensor.shape for name, tensor in plain.items()
    }


def test_shards_in_packed_form_are_found_through_the_index(file: Path, tmp_path: Path) -> None:
    names = sorted(tensors())
    folder = tmp_path / "sharded"
    folder.mkdir()
    write_packed(file, folder / "model-00001-of-00001.safetensors.enec")
    index = {"weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert sorted(read_weights(folder)) == names
    index["weight_map"]["other"] = "model-00001-of-00001.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="does not hold 'other'"):
        read_weights(folder)


def test_the_shipped_teacher_is_the_same_by_digest(tmp_path: Path, run: Run) -> None:
    teacher, drafter = shipped_pair_dirs()
    assert run("pack", teacher, tmp_path / "teacher")[0] == 0
    assert run("verify", tmp_path / "teacher", "--original", teacher)[0] == 0
    plain, packed = load_pair(teacher, drafter), load_pair(tmp_path / "teacher", drafter)
    assert packed.digests.teacher_weights == plain.digests.teacher_weights
    assert "teacher/model.safetensors.enec" in packed.digests.files
    assert run("unpack", tmp_path / "teacher", tmp_path / "back")[0] == 0
    name = "model.safetensors"
    assert (tmp_path / "back" / name).read_bytes() == (teacher / name).read_bytes()


def test_a_flipped_bit_is_refused_and_named(file: Path, tmp_path: Path, run: Run) -> None:
    packed = tmp_path / "packed"
    write_packed(file, packed)
    good = packed.read_bytes()
    ends = [0, 9, 17, 30, 45, 200, 900, 1400, len(good) // 2, len(good) - 1]
    for place in ends:
        packed.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        code, _, err = run("unpack", packed, tmp_path / "back")
        assert code == 2, place
        assert ("damaged" in err) or ("cut off" in err) or ("no packed file" in err), err
        assert not (tmp_path / "back").exists()
        assert run("verify", packed)[0] == (2 if place < 8 else 1)
    half = bytearray(good)
    half[-1] ^= 1
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.enec").write_bytes(half)
    with pytest.raises(CheckpointError, match=r"damaged.*make the packed file again"):
        read_weights(folder)


def test_cut_files_and_forged_sizes_are_refused(file: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    write_packed(file, packed)
    good = packed.read_bytes()
    for size in (0, 7, 8, 39, 40, 100, len(good) - 1):
        with pytest.raises(CheckpointError):
            open_packed(np.frombuffer(good[:size], np.uint8), "it")
    for first in (8, 16, 24, 28):
        forged = good[:first] + b"\xff" * 4 + good[first + 4 :]
        with pytest.raises(CheckpointError):
            open_packed(np.frombuffer(forged, np.uint8), "it")


def numbers(folder: Path, count: int = 20000) -> Path:
    words = generated(BFLOAT16, count, seed=9, centre=121, lo=100, hi=126, up=1)
    (folder / "numbers").write_bytes(words.tobytes())
    return folder / "numbers"


def test_bare_numbers_become_one_stream_of_either_layout(tmp_path: Path, run: Run) -> None:
    plain = numbers(tmp_path)
    stream = back = tmp_path
    for given in ((), ("--parameters", "122,6,3")):
        stream, back = tmp_path / f"stream{len(given)}", tmp_path / f"back{len(given)}"
        assert run("pack", plain, stream, "--dtype", "bfloat16", *given)[0] == 0
        assert run("unpack", stream, back, *given)[0] == 0
        assert back.read_bytes() == plain.read_bytes()
        assert run("verify", stream, "--original", plain, *given)[0] == 0
    assert run("verify", stream)[0] == 4
    assert run("unpack", stream, tmp_path / "other")[0] == 2
    assert run("unpack", stream, back, "--parameters", "122,6,3")[0] == 2  # there already
    code, out, _ = run("stat", plain, "--dtype", "bfloat16", "--format", "json")
    stat = json.loads(out)
    assert code == 0
    assert 1 < stat["ratio"] <= stat["model_ratio"] * 1.001 < stat["entropy_ratio"]


def test_what_a_published_stream_lost_is_a_finding(tmp_path: Path, run: Run) -> None:
    words = generated(BFLOAT16, 20000, seed=9, centre=121, lo=100, hi=126, up=1)
    words[:5] = special_values(BFLOAT16)
    (tmp_path / "plain").write_bytes(words.tobytes())
    (tmp_path / "stream").write_bytes(
        write_stream(words, BFLOAT16, Parameters(122, 6, 3), checks_range=False)
    )
    code, out, _ = run("verify", tmp_path / "stream", "--original", tmp_path / "plain", "--format", "json")
    found = json.loads(out)
    assert (code, found["verdict"], len(found["losses"])) == (1, "lost", 4)
    code, _, err = run(
        "pack", tmp_path / "plain", tmp_path / "new", "--dtype", "bfloat16", "--parameters", "122,6,3"
    )
    assert (code, "do not all lie in" in err) == (2, True)
    odd = np.zeros(5000, FLOAT32.word)
    (tmp_path / "odd").write_bytes(odd.tobytes())
    code, _, err = run(
        "pack", tmp_path / "odd", tmp_path / "new", "--dtype", "float32", "--parameters", "4,3,1"
    )
    assert (code, "use the container" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("pack", "missing", "new"), (3, "is not there")),
        (("pack", ".", "new"), (2, "holds no .safetensors file")),
        (("pack", "numbers", "new"), (2, "safetensors")),
        (("pack", "numbers", "new", "--parameters", "122,6,3"), (2, "give their --dtype too")),
        (("unpack", "numbers", "new"), (2, "is no packed file of ours")),
        (("verify", "numbers"), (2, "not an ENEC stream")),
        (("stat", "numbers"), (2, "give --dtype")),
        (("unpack", "numbers", "new", "--parameters", "1,2"), (2, "B,N,M")),
    ],
)
def test_bad_input_is_said_in_one_sentence(
    arguments: Sequence[str],
    expected: tuple[int, str],
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers(tmp_path)
    monkeypatch.chdir(tmp_path)
    found, _, err = run(*arguments)
    assert (found, expected[1] in err) == (expected[0], True), err


def test_an_existing_directory_is_not_written_into(tmp_path: Path, run: Run) -> None:
    (tmp_path / "model").mkdir()
    shutil.copy(shipped_pair_dirs()[1] / "model.safetensors", tmp_path / "model")
    code, _, err = run("pack", tmp_path / "model", tmp_path)
    assert (code, "is there already" in err) == (2, True)
    with mapped(tmp_path / "model" / "model.safetensors") as data:
        assert data.size
