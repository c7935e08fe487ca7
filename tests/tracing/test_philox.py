"""Counter-based draws: the published known answers, and what Triton's own `rand` gives."""

from __future__ import annotations

import numpy as np
import pytest

from tracing.draws import DrawTape
from tracing.philox import EDGE_EVERY, GENERATORS, LARGEST_UNIFORM, philox, philox4x32, triton

KNOWN_ANSWERS = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]
"""Counter, key and words of Random123's test vectors for ten rounds."""
TRITON = {
    0: [0.7980929, 0.05551759, 0.03889884],
    7: [0.09080574, 0.81392074, 0.01215026],
    2**31 + 5: [0.99949628, 0.40503964, 0.85402906],
    2**40 + 3: [0.67062306, 0.27985534, 0.01590462],
}
"""Seed to `tl.rand(seed, offset)` at offsets 0, 1 and 2, run by the interpreter of Triton 3.5.0."""


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter: list[int], key: list[int], words: list[int]) -> None:
    counters = np.array([counter, [1, 2, 3, 4]], dtype=np.uint32)
    assert philox4x32(counters, np.array(key, dtype=np.uint32))[0].tolist() == words


@pytest.mark.parametrize("seed", TRITON)
def test_the_draws_of_triton(seed: int) -> None:
    found = triton(seed, np.arange(3))
    np.testing.assert_allclose(found, TRITON[seed], atol=5e-9)
    assert (found == found.astype(np.float32)).all()


def test_a_draw_is_known_from_its_place_alone() -> None:
    tape = DrawTape.seeded(-3)
    taken = [tape.take() for _ in range(100)]
    places = np.array([99, 0, 41, 64])
    assert philox(-3, places).tolist() == [taken[place] for place in places]
    assert tape.position == 100
    assert DrawTape.recorded([0.5], seed=1).position is None
    many = philox(1, np.arange(100_000))
    assert many.min() >= 0
    assert many.max() < 1
    assert abs(many.mean() - 0.5) < 0.003


def test_edges_are_where_rules_of_acceptance_go_wrong() -> None:
    draws = GENERATORS["philox_edges"](4, np.arange(4 * EDGE_EVERY))
    assert np.count_nonzero(draws == 0) == np.count_nonzero(draws == LARGEST_UNIFORM) == 4
    same = GENERATORS["philox"](4, np.arange(4 * EDGE_EVERY)) == draws
    assert np.count_nonzero(same) == 4 * EDGE_EVERY - 8
