"""int4 words against recorded ones, and the four public layouts against plain Python.

Which bugs these catch: the wrong nibble order, a tile of another size, a zero point off by one, a scale that
is transposed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracing.errors import UsageError
from workbench.weights.int4 import from_fractal, pack, to_fractal, unpack
from workbench.weights.int4_layouts import LAYOUTS, Shipped, quantise, ship, to_npu

DATA = json.loads((Path(__file__).parents[1] / "data" / "w4a16.json").read_text())
NAMES = {
    "compressed-tensors": "compressed_tensors_pack_last_dim_offset8",
    "gptq": "gptq_qweight_pack_first_dim_offset8",
    "awq": "awq_qweight_pack_last_dim_order_02461357",
    "npu": "torch_npu_int4pack_last_dim_twos_complement",
}


@pytest.mark.parametrize("case", DATA["pack"], ids=lambda case: str(np.shape(case["w"])))
def test_words_are_the_recorded_ones(case: dict[str, Any]) -> None:
    numbers, words = np.array(case["w"]), np.array(case["packed_int32"], np.int32)
    assert np.array_equal(pack(numbers), words)
    if "note" not in case:  # values outside -8..7 lose their upper bits
        assert np.array_equal(unpack(words), numbers)
        shown = [
            [f"{word & 0xFFFFFFFF:08x}" for word in row]
            for row in words.reshape(-1, words.shape[-1]).tolist()
        ]
        assert shown == np.array(case["hex"]).reshape(-1, words.shape[-1]).tolist()


@pytest.mark.parametrize("case", DATA["nz"], ids=lambda case: f"{case['k']}x{case['n']}")
def test_tiles_are_the_recorded_ones(case: dict[str, Any]) -> None:
    words = pack(np.array(case["w"]))
    tiles = to_fractal(words)
    assert list(tiles.shape) == case["nz_shape"]
    assert tiles.reshape(-1).tolist() == case["nz_flat"]
    assert np.array_equal(from_fractal(tiles, *words.shape), words)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_the_recorded_ones(layout: str) -> None:
    converters = DATA["converters"]
    numbers = np.array(converters["u_offset8"], np.uint8)
    recorded = np.array(converters["layouts"][NAMES[layout]], np.int32)
    by_row = layout == "compressed-tensors"  # whose rows are the outputs
    made = LAYOUTS[layout].pack_weight(numbers.T if by_row else numbers)
    assert np.array_equal(made, recorded)
    back = LAYOUTS[layout].read_weight(recorded)
    assert np.array_equal(back.T if by_row else back, numbers)
    assert np.array_equal(
        unpack(np.array(converters["layouts"][NAMES["npu"]], np.int32)), converters["w_signed"]
    )


def test_a_bit_tells_the_two_codings_apart() -> None:
    """Where axis and order are equal, the words differ in the highest bit of each nibble alone."""
    layouts = DATA["converters"]["layouts"]
    other = np.array(layouts[NAMES["compressed-tensors"]], np.int32)
    assert np.array_equal(other ^ np.uint32(0x88888888).view(np.int32), layouts[NAMES["npu"]])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("with_zero", [False, True])
@pytest.mark.parametrize(("rows", "columns", "group"), [(64, 24, 32), (72, 16, 32), (40, 8, 0), (32, 16, 32)])
def test_every_layout_means_the_same_numbers(
    layout: str, *, with_zero: bool, rows: int, columns: int, group: int
) -> None:
    weight = np.random.default_rng(rows).standard_normal((rows, columns)).astype(np.float32) + np.float32(0.2)
    numbers, scale, zero = quantise(weight, group, with_zero=with_zero)
    npu = to_npu(layout, ship(layout, numbers, scale, zero))
    meant = [
        [
            (int(numbers[k, n]) - (8 if zero is None else int(zero[k // (group or rows), n])))
            * float(scale[k // (group or rows), n])
            for n in range(columns)
        ]
        for k in range(rows)
    ]
    which = np.arange(rows) // (group or rows)
    offset = 0 if npu.offset is None else npu.offset.astype(np.float64)[which]
    assert np.array_equal((unpack(npu.packed) + offset) * npu.scale.astype(np.float64)[which], meant)
    assert np.abs(np.array(meant) - weight).max() <= float(scale.max()) * 0.54
    assert (npu.offset is not None) == with_zero


def test_a_dead_group_stays_zero() -> None:
    for with_zero in (False, True):
        numbers, scale, zero = quantise(np.zeros((64, 8), np.float32), 32, with_zero=with_zero)
        assert np.all(numbers == (8 if zero is None else zero[0, 0]))
        assert np.all(scale == 1)


def test_what_does_not_fill_words_is_refused() -> None:
    with pytest.raises(UsageError, match="8 numbers each"):
        pack(np.zeros((2, 12), np.int8))
    with pytest.raises(UsageError, match="one of compressed-tensors, gptq, awq, npu"):
        to_npu("marlin", Shipped(np.zeros((1, 1), np.int32), np.zeros((1, 8))))
