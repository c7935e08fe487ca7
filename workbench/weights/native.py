"""The compiled decoder of a container's blocks; without a compiler there is none, and numpy decodes."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from tracing.errors import EnvironmentProblemError
from workbench.weights import compile_gate
from workbench.weights.container import DecodeBlocks
from workbench.weights.floats import Bytes, FloatFormat, Words
from workbench.weights.grouped import decode_blocks
from workbench.weights.parameters import Parameters

WORTH_COMPILING: Final = 256 << 20
"""Packed bytes that numpy decodes in less time than a compiler needs."""
SOURCE: Final = Path(__file__).with_name("decode_blocks.cpp")


@cache
def compiled() -> tuple[DecodeBlocks | None, str]:
    """Return the compiled decoder, or None and why there is none, in one line."""
    try:
        function = compile_gate.load(compile_gate.build(SOURCE)).specwb_decode_blocks
    except (EnvironmentProblemError, compile_gate.CompileError) as error:
        return None, str(error)
    function.restype = ctypes.c_int64
    function.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
        *[ctypes.c_int32] * 4, ctypes.c_void_p,
    ]  # fmt: skip
    decode = _Decoder(function)
    if not decode.agrees():
        return None, f"{SOURCE.name} was compiled and decodes something else than numpy; numpy decodes"
    return decode, ""


def decoder_for(num_bytes: int) -> DecodeBlocks:
    """Return what decodes so many packed bytes: compiled where that pays and can be done, else numpy."""
    if num_bytes < WORTH_COMPILING:
        return decode_blocks
    return compiled()[0] or decode_blocks


class _Decoder:
    """As `grouped.decode_blocks`."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, blocks: list[Bytes], out: Words, layout: FloatFormat, parameters: Parameters) -> bool:
        """Decode blocks of one size; False where one has another size than its mask asks for."""
        places = (ctypes.c_void_p * len(blocks))(*(block.ctypes.data for block in blocks))
        sizes = (ctypes.c_int64 * len(blocks))(*(block.size for block in blocks))
        code: int = self._function(
            places, sizes, len(blocks), out.shape[1], layout.code, parameters.base, parameters.num_bits,
            parameters.low_bits, out.ctypes.data,
        )  # fmt: skip
        return code == 0

    def agrees(self) -> bool:
        """Return whether it decodes one block of each dtype as numpy does."""
        from workbench.weights.floats import FORMATS
        from workbench.weights.grouped import encode_block

        for layout in FORMATS.values():
            exponents = np.arange(512) % 6 + 9
            words = (exponents << layout.mantissa_bits | np.arange(512) % 97).astype(layout.word)
            parameters = Parameters(12, 5, 3)
            coded = encode_block(words, layout, parameters)
            assert coded is not None
            out = np.zeros((1, words.size), layout.word)
            if not self([np.frombuffer(coded, np.uint8)], out, layout, parameters) or (out[0] != words).any():
                return False
        return True
