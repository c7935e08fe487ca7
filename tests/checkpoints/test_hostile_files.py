"""Whatever a stranger wrote into a model directory ends in one sentence, soon, and never in a traceback."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import synthetic
from tracing.errors import SpecwbError
from workbench.checkpoints.json_text import MAX_DEPTH, parse_object, shown
from workbench.checkpoints.load import load_pair
from workbench.checkpoints.safetensors_header import check_header, header_length


def refused(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(SpecwbError, match=sentence) as caught:
        call()
    text = str(caught.value)
    assert len(text) < 700, "one sentence"
    assert text.isprintable()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested deeper than"),
        ('{"a": ' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}", "nested deeper than"),
        ('{"a": ' * 2000 + "1" + "}" * 2000, "nested deeper than"),
        ('{"a": ' + "9" * 5000 + "}", "a number of 5,000 digits"),
        ('{"a": 1e400}', "no float can hold"),
        ('{"a": NaN}', "NaN, which is no JSON number"),
        ('{"a": -Infinity}', "Infinity, which is no JSON number"),
        ('{"hidden_size": 32, "hidden_size": 64}', "'hidden_size' twice"),
        ("\ufeff{}", "byte order mark"),
        ("[1]", "should hold a JSON object, got list"),
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        ('{"a": 1} x', "is not valid JSON"),
    ],
)
def test_json_beyond_all_bounds(text: str, sentence: str) -> None:
    refused(lambda: parse_object(text.encode(), "config.json"), sentence)


def test_text_in_another_encoding_is_named() -> None:
    refused(lambda: parse_object('{"a": "ä"}'.encode("latin-1"), "config.json"), "cannot be read as text")
    refused(lambda: parse_object('{"a": 1}'.encode("utf-16"), "config.json"), "byte order mark")
    refused(lambda: parse_object(b"{" + b" " * 100 + b"}", "config.json", most_bytes=50), "larger than 50")
    refused(lambda: parse_object(b'{"a": [' + b"1," * 9_000_000 + b"1]}", "x", most_bytes=1 << 30), "items")


def test_sane_json_is_what_json_makes_of_it() -> None:
    text = '{"a": [1, -2.5e-3, true, null, "\\u00e4"], "b": {"c": 123456789012345678}}'
    assert parse_object(text.encode(), "x") == json.loads(text)


def test_values_of_strangers_are_shown_short_and_printable() -> None:
    for value in (
        "x" * 10**6,
        "\x1b[31m\u202e\n",
        [[0] * 1000] * 1000,
        {"k" * 999: "v" * 999},
        10**39,
        "\ud800",
    ):
        text = shown(value)
        assert len(text) < 400
        assert text.isprintable()


def header(entries: dict[str, Any] | str, data: bytes = b"") -> bytes:
    text = (entries if isinstance(entries, str) else json.dumps(entries)).encode()
    return struct.pack("<Q", len(text)) + text + data


F32: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is not a readable safetensors file"),
        (struct.pack("<Q", 2**63), "cut off or not a safetensors file"),
        (struct.pack("<Q", 8) + b"{}", "cut off"),
        (header({"a": F32}), "cut off or has a tail"),
        (header({"a": F32}, b"\0" * 9), "cut off or has a tail"),
        (header({"a": F32 | {"dtype": "F31"}}, b"\0" * 8), "which safetensors does not have"),
        (header({"a": F32 | {"dtype": ["F32"]}}, b"\0" * 8), "which safetensors does not have"),
        (header({"a": F32 | {"shape": [2, -1]}}, b"\0" * 8), "shape of whole numbers"),
        (header({"a": F32 | {"shape": "2"}}, b"\0" * 8), "shape of whole numbers"),
        (header({"a": F32 | {"shape": [2**40, 2**40]}}, b"\0" * 8), "but its data_offsets span 8"),
        (header({"a": F32 | {"data_offsets": [8, 0]}}, b"\0" * 8), "ascending data_offsets"),
        (header({"a": F32, "b": F32}, b"\0" * 8), "overlaps the tensor before it"),
        (header({"a": F32, "b": F32 | {"data_offsets": [12, 20]}}, b"\0" * 20), "leaves a hole"),
        (header('{"a": 1, "a": 2}'), "'a' twice"),
        (header({"a": None}), "should have dtype, shape and data_offsets"),
        (header({"__metadata__": {"format": 1}}), "__metadata__"),
        (header('{"a": ' + "[" * 5000 + "]" * 5000 + "}"), "nested deeper"),
        (header(b"\xff\xfe".decode("latin-1")), "text|JSON"),
    ],
)
def test_safetensors_headers(draft_dir: Path, llama_dir: Path, data: bytes, sentence: str) -> None:
    (draft_dir / "model.safetensors").write_bytes(data)
    refused(lambda: load_pair(llama_dir, draft_dir), sentence)


def test_names_of_tensors_are_words(draft_dir: Path, llama_dir: Path) -> None:
    for name in ("layers.\x1b[31m.weight", "a\u202eb", "x" * 300):
        (draft_dir / "model.safetensors").write_bytes(header({name: F32}, b"\0" * 8))
        refused(lambda: load_pair(llama_dir, draft_dir), "names are printable and short")


def test_a_sane_header_passes(llama_dir: Path) -> None:
    data = (llama_dir / "model.safetensors").read_bytes()
    length = header_length(data[:8], len(data), "x")
    check_header(data[8 : 8 + length], len(data), "x")


class Odd:
    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __reduce__(self) -> Any:
        return self.make()


def zipped(entries: dict[str, bytes], compress: int = zipfile.ZIP_STORED) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", compress) as archive:
            for name, data in entries.items():
                archive.writestr(name, data)

    return write


def pickled(value: Any) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(pickle.dumps(value)) and None


PICKLES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "code": pickled(Odd(lambda: (os.system, ("touch /tmp/specwb-was-here",)))),
    "key error": lambda path: path.write_bytes(b"\x80\x02h\x05."),
    "stack": lambda path: path.write_bytes(b"\x80\x020000."),
    "long": lambda path: path.write_bytes(b"\x80\x02\x8b\xff\xff\xff\x7f" + b"1" * 9),
    "list": lambda path: torch.save([torch.ones(1)], path),
    "numbers": lambda path: torch.save({"fc.weight": 3}, path),
    "keys": lambda path: torch.save({(1, 2): torch.ones(1)}, path),
    "view": lambda path: torch.save({"fc.weight": torch.ones(1).expand(10**13)}, path),
    "sparse": lambda path: torch.save({"fc.weight": torch.eye(3).to_sparse()}, path),
    "meta": lambda path: torch.save({"fc.weight": torch.ones(3, device="meta")}, path),
    "no data": zipped({"archive/version": b"3"}),
    "bad data": zipped({"archive/data.pkl": b"\x80\x02}q\x00X\xff\xff\xff\xff", "archive/version": b"3\n"}),
    "bomb": zipped({"archive/data.pkl": b"\0" * 50_000_000, "archive/version": b"3\n"}, zipfile.ZIP_DEFLATED),
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
def test_pickled_weights_of_any_kind(draft_dir: Path, llama_dir: Path, name: str) -> None:
    (draft_dir / "model.safetensors").unlink()
    PICKLES[name](draft_dir / "pytorch_model.bin")
    refused(lambda: load_pair(llama_dir, draft_dir), "pytorch_model.bin")
    assert not Path("/tmp/specwb-was-here").exists()  # the name is in the pickle


def test_sane_pickled_weights_load(draft_dir: Path, llama_dir: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(draft_dir / "model.safetensors")
    before = load_pair(llama_dir, draft_dir).pair.drafter_weights
    (draft_dir / "model.safetensors").unlink()
    torch.save(
        {name: torch.nn.Parameter(w, requires_grad=False) for name, w in weights.items()},
        draft_dir / "pytorch_model.bin",
    )
    after = load_pair(llama_dir, draft_dir).pair.drafter_weights
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("weight_map", "sentence"),
    [
        ({}, "has no weight_map"),
        ([], "has no weight_map"),
        ({"fc.weight": 5}, "or is no file name"),
        ({"fc.weight": "../model.safetensors"}, "outside the model directory"),
        ({"fc.weight": "/etc/passwd"}, "outside the model directory"),
        ({"fc.weight": "."}, "is no file name|expected .safetensors files"),
        ({"fc.weight": "config.json"}, "expected .safetensors files"),
        ({"fc.weight": "gone.safetensors"}, "is missing"),
        ({"fc.weight": "link.safetensors"}, "is a link to nothing"),
        ({"fc.weight": "pipe.safetensors"}, "is no regular file"),
        ({"other.weight": "part.safetensors"}, "does not hold 'other.weight'"),
    ],
)
def test_an_index_of_any_kind(draft_dir: Path, llama_dir: Path, weight_map: Any, sentence: str) -> None:
    (draft_dir / "model.safetensors").rename(draft_dir / "part.safetensors")
    (draft_dir / "link.safetensors").symlink_to(draft_dir / "nowhere")
    os.mkfifo(draft_dir / "pipe.safetensors")
    synthetic.write_json(draft_dir / "model.safetensors.index.json", {"weight_map": weight_map})
    refused(lambda: load_pair(llama_dir, draft_dir), sentence)


FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
    "special_tokens_map.json", "chat_template.jinja",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_only_regular_files_are_opened(teacher_dir: Path, draft_dir: Path, name: str, kind: str) -> None:
    path = teacher_dir / name
    path.unlink(missing_ok=True)
    {"pipe": os.mkfifo, "folder": Path.mkdir, "device": lambda at: at.symlink_to("/dev/zero")}[kind](path)
    refused(lambda: load_pair(teacher_dir, draft_dir), "regular file")
