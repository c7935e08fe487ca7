"""The compiled decoder against numpy, and what happens without a compiler.

Which bugs these catch: a width or a short block that only numpy decodes; a compiler that is missing, fails or
hangs, and takes a command with it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.weights.golden_enec import generated
from tracing.errors import EnvironmentProblemError
from workbench.weights import compile_gate, container, native
from workbench.weights.floats import BFLOAT16, FLOAT16, FLOAT32, FloatFormat
from workbench.weights.grouped import decode_blocks
from workbench.weights.parameters import Parameters

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler on PATH")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> container.DecodeBlocks:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        native.compiled.cache_clear()
        decode, why = native.compiled()
        native.compiled.cache_clear()
    assert decode is not None, why
    return decode


@needs_compiler
@pytest.mark.parametrize("layout", [BFLOAT16, FLOAT16, FLOAT32], ids=lambda layout: layout.name)
def test_every_width_and_size_is_decoded_as_numpy_does(
    layout: FloatFormat, decoder: container.DecodeBlocks
) -> None:
    centre = 10 if layout is FLOAT16 else 121
    words = generated(layout, 3 * container.BLOCK + 300, seed=4, centre=centre, lo=0, hi=centre + 3, up=1)
    for low_bits in range(1, 5):
        for high_bits in range(5):
            parameters = Parameters(centre + 1, low_bits + high_bits, low_bits)
            for size in (1, 256, container.BLOCK, words.size):
                stream = container.open_stream(container.write(words[:size], layout, parameters))
                assert np.array_equal(container.read(stream, decode=decoder), words[:size])


@needs_compiler
def test_a_block_that_disagrees_with_its_mask_is_refused(decoder: container.DecodeBlocks) -> None:
    words = generated(BFLOAT16, container.BLOCK, seed=4, centre=121, lo=100, hi=124, up=1)
    parameters = Parameters(122, 6, 3)
    stream = container.open_stream(container.write(words, BFLOAT16, parameters))
    block = stream.data[stream.starts[0] :]
    out = np.zeros((1, container.BLOCK), BFLOAT16.word)
    assert decoder([block], out, BFLOAT16, parameters)
    for size in (0, 100, block.size - 1):
        for decode in (decoder, decode_blocks):
            assert not decode([block[:size].copy()], out, BFLOAT16, parameters)


def test_without_a_compiler_numpy_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    native.compiled.cache_clear()
    try:
        decode, why = native.compiled()
        assert decode is None
        assert why == "decode_blocks.cpp needs a compiler, and none of c++, g++, clang++ is on PATH"
        assert native.decoder_for(native.WORTH_COMPILING) is decode_blocks
    finally:
        native.compiled.cache_clear()


def test_a_compiler_that_refuses_or_hangs_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "made.cpp"
    source.write_text("int x;\n")
    for body, says in (("echo 'made.cpp:1: error: no' >&2; exit 1", "error: no"), ("exec sleep 9", "within")):
        compiler = tmp_path / "compiler"
        compiler.write_text(f"#!/bin/sh\n{body}\n")
        compiler.chmod(0o755)
        monkeypatch.setenv("CXX", str(compiler))
        with pytest.raises(compile_gate.CompileError, match=says):
            compile_gate.build(source, seconds=0.3)
    (tmp_path / "specwb" / "compiled").rmdir()
    (tmp_path / "specwb" / "compiled").write_text("a file is in the way")
    with pytest.raises(compile_gate.CompileError, match="cannot be compiled"):
        compile_gate.build(source, seconds=0.3)
    (tmp_path / "no.so").write_text("no library")
    with pytest.raises(compile_gate.CompileError, match="cannot be loaded"):
        compile_gate.load(tmp_path / "no.so")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("CXX", "nothing")
    with pytest.raises(EnvironmentProblemError, match="needs a compiler"):
        compile_gate.compiler_of(source)
