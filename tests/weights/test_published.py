"""ENEC's published stream against streams of its own kernels, and what such a stream loses.

Which bugs these catch: a region in another order, halves folded by another shift, high bits of another core,
a search that takes another base; a loss that nobody names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.weights.golden_enec import DATA, LAYOUTS, SPECIAL, generated, input_of, sha256, special_values
from tracing.errors import UsageError
from workbench.weights.examine import examine
from workbench.weights.floats import BFLOAT16, FLOAT16, FLOAT32, FloatFormat
from workbench.weights.parameters import Parameters, parse_parameters, search
from workbench.weights.published import read_header, read_stream, write_stream

CASES = {f"{case['tag']}-{case['dtype']}-{case['b']}-{case['n']}-{case['m']}": case for case in DATA["cases"]}
OVERLAPPING = {name for name, case in CASES.items() if case["dtype"] == "fp32" and not case["sound"]}


def parameters_of(case: dict[str, Any]) -> Parameters:
    return Parameters(case["b"], case["n"], case["m"])


@pytest.mark.parametrize("name", sorted(CASES.keys() - OVERLAPPING))
def test_streams_are_those_of_the_published_kernels(name: str) -> None:
    case = CASES[name]
    words, layout, parameters = input_of(case), LAYOUTS[case["dtype"]], parameters_of(case)
    stream = write_stream(words, layout, parameters, checks_range=False)
    assert (sha256(stream) == case["stream_sha256"]) == case["sound"]  # the others hold stale pad bits
    decoded, found, _ = read_stream(stream, parameters)
    assert found is layout
    assert int((decoded != words).sum()) == case["decoded_mismatches"]
    if "decoded_sha256" in case:
        assert sha256(decoded.tobytes()) == case["decoded_sha256"]


@pytest.mark.parametrize("name", sorted(OVERLAPPING))
def test_float32_at_odd_sizes_is_refused(name: str) -> None:
    case = CASES[name]
    with pytest.raises(UsageError, match="odd number of 32 KiB units"):
        write_stream(input_of(case), FLOAT32, parameters_of(case))


@pytest.mark.parametrize("case", DATA["searches"], ids=lambda case: f"{case['tag']}-{case['dtype']}")
def test_search_finds_what_the_published_one_finds(case: dict[str, Any]) -> None:
    counts = np.zeros(LAYOUTS[case["dtype"]].largest_exponent + 1, np.int64)
    for exponent, count in case["exp_hist"].items():
        counts[int(exponent)] = count
    found, wanted = search(counts), case["result"]
    assert [found.base, found.num_bits, found.low_bits, found.group] == [wanted[name] for name in "bnmL"]
    assert found.mean_bits == pytest.approx(float(wanted["average_bit_length"]), rel=1e-6)


def ordinary(layout: FloatFormat, count: int = 20000) -> Any:
    centre = 10 if layout is FLOAT16 else 121
    return generated(layout, count, seed=5, centre=centre, lo=centre - 8, hi=centre + 3, up=1)


@pytest.mark.parametrize("layout", [BFLOAT16, FLOAT16, FLOAT32], ids=lambda layout: layout.name)
@pytest.mark.parametrize("low_bits", [1, 2, 3, 4])
@pytest.mark.parametrize("high_bits", [0, 1, 2, 3, 4])
def test_every_width_comes_back(layout: FloatFormat, low_bits: int, high_bits: int) -> None:
    """Widths for which no kernel is published are laid out by the same rules."""
    num_bits = low_bits + high_bits
    if num_bits < 4:
        return  # twelve exponents do not fit
    words = ordinary(layout, 45000)
    parameters = Parameters(int(layout.exponents(words).max()) - 3, num_bits, low_bits)
    stream = write_stream(words, layout, parameters, checks_range=num_bits > 4)
    decoded, _, _ = read_stream(stream, parameters)
    fits = parameters.represents(layout.exponents(words))
    assert np.array_equal(decoded, words) == fits
    assert (num_bits, low_bits) in examine(stream, parameters).fits


def test_what_is_out_of_range_is_refused_and_found() -> None:
    parameters = Parameters(122, 6, 3)
    words = ordinary(BFLOAT16)
    words[:5] = special_values(BFLOAT16)
    with pytest.raises(UsageError, match="do not all lie in 91 to 154"):
        write_stream(words, BFLOAT16, parameters)
    stream = write_stream(words, BFLOAT16, parameters, checks_range=False)
    blind = examine(stream, parameters)
    assert (blind.exit_code, blind.losses) == (4, [])
    assert "zeros and denormals and infinities and NaN" in blind.unknown[0]
    for known in (parameters, None):  # the original tells which parameters explain it
        found = examine(stream, known, words)
        assert found.exit_code == 1
        assert [line.split(" value")[0] for line in found.losses] == [
            "2 zero", "1 denormal", "1 infinity", "1 NaN",
        ]  # fmt: skip
    assert examine(stream).exit_code == 4
    words[:5] = words[5]
    clean = write_stream(words, BFLOAT16, parameters)
    assert examine(clean, parameters, words).exit_code == 0


def test_eight_bits_show_infinities_by_themselves() -> None:
    """Their exponents decode to negative numbers, which no dtype has."""
    words = ordinary(BFLOAT16)
    words[7] = special_values(BFLOAT16)[1]
    parameters = Parameters(121, 8, 4)
    stream = write_stream(words, BFLOAT16, parameters, checks_range=False)
    assert (
        "1 element(s) decode to an exponent that bfloat16 does not have"
        in examine(stream, parameters).losses[0]
    )


def test_a_stream_of_an_odd_float32_size_is_a_loss_by_itself() -> None:
    even = write_stream(ordinary(FLOAT32, 30000), FLOAT32, Parameters(122, 6, 3))
    fields = bytearray(even)
    fields[12:20] = (20000).to_bytes(4, "little") + (32768).to_bytes(4, "little")
    fields[4:8] = (1).to_bytes(4, "little")
    found = examine(bytes(fields))
    assert (found.exit_code, len(found.losses)) == (1, 1)
    with pytest.raises(UsageError, match="overlap"):
        read_stream(bytes(fields), Parameters(122, 6, 3))


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (0, 1, "disagrees with itself"),
        (4, 2**31, "disagrees with itself"),
        (8, 47, "not an ENEC stream"),
        (12, 2**32 - 1, "disagrees with itself"),
        (20, 99, "cut off or has a tail"),
        (26, 7, "not an ENEC stream"),
    ],
)
def test_a_forged_header_is_refused(place: int, value: int, says: str) -> None:
    stream = bytearray(write_stream(ordinary(BFLOAT16), BFLOAT16, Parameters(122, 6, 3)))
    width = 2 if place in {8, 26} else 4
    stream[place : place + width] = value.to_bytes(width, "little")
    with pytest.raises(UsageError, match=says):
        read_stream(bytes(stream), Parameters(122, 6, 3))


def test_other_parameters_and_short_streams_are_refused() -> None:
    stream = write_stream(ordinary(BFLOAT16), BFLOAT16, Parameters(122, 6, 3))
    for wrong in (Parameters(122, 6, 4), Parameters(122, 7, 3)):
        with pytest.raises(UsageError, match="another"):
            read_stream(stream, wrong)
    for size in (0, 31):
        with pytest.raises(UsageError, match="32 bytes"):
            read_header(stream[:size])
    big = bytearray(stream)  # a header of 4 GB on a stream of 30 KB that agrees with itself
    big[4:8], big[12:16], big[16:20] = (n.to_bytes(4, "little") for n in (2**16, 2**31, 2**31))
    with pytest.raises(UsageError, match="too short"):
        read_stream(bytes(big), Parameters(122, 6, 3))


@pytest.mark.parametrize(
    "text", ["", "122,6", "122,6,3,1", "122,6,x", "122,-6,3", "300,6,3", "9,9,3", "9,3,4"]
)
def test_parameters_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="ENEC"):
        parse_parameters(text)


def test_special_cases_are_among_the_recorded() -> None:
    assert sum(case["tag"] == SPECIAL for case in DATA["cases"]) > 5
