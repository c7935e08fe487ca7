"""Inputs of the recorded ENEC cases, made again from their generators."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.weights.floats import BFLOAT16, FLOAT16, FLOAT32, FloatFormat, Words

DATA = json.loads((Path(__file__).parents[1] / "data" / "enec.json").read_text())
LAYOUTS = {"bf16": BFLOAT16, "fp16": FLOAT16, "fp32": FLOAT32}
SPECIAL = "special_values_zero_inf_nan_denormal_negzero"


def mix(seed: int, count: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(seed * 0xD1B54A32D192ED03 % 2**64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        return z ^ (z >> np.uint64(31))


def generated(layout: FloatFormat, count: int, *, seed: int, centre: int, lo: int, hi: int, up: int) -> Words:
    drawn = mix(seed, count)
    zeros = ~drawn & np.uint64(0xFFFFFFFF)  # the lowest set bit ends the run of ones
    lowest = (zeros & (~zeros + np.uint64(1))).astype(np.float64)
    ones = np.where(lowest == 0, 31, np.minimum(np.log2(np.maximum(lowest, 1)), 31)).astype(np.int64)
    goes_up = ((drawn >> np.uint64(32)) & np.uint64(7)).astype(np.int64) < up
    exponents = np.clip(centre + np.where(goes_up, ones, -ones), lo, hi).astype(np.uint64)
    mantissas = (drawn >> np.uint64(40)) & np.uint64((1 << layout.mantissa_bits) - 1)
    sign = drawn >> np.uint64(63) << np.uint64(8 * layout.num_bytes - 1)
    return (sign | exponents << np.uint64(layout.mantissa_bits) | mantissas).astype(layout.word)


def special_values(layout: FloatFormat) -> list[int]:
    """+0, infinity, a NaN, the smallest denormal, -0."""
    infinity = layout.largest_exponent << layout.mantissa_bits
    return [0, infinity, infinity | 1, 1, 1 << (8 * layout.num_bytes - 1)]


def input_of(case: dict[str, Any]) -> Words:
    layout = LAYOUTS[case["dtype"]]
    words = generated(layout, case["elements"], **case["generator"])
    if case["tag"] == SPECIAL:
        words[:5] = special_values(layout)
    assert sha256(words.tobytes()) == case["input_sha256"]
    return words


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
