"""Counter-based uniforms: Philox 4x32-10, so that a draw is known from its seed and its place alone.

The generator is that of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). What engines
make of its words differs; `GENERATORS` holds those that a trace may name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

GeneratorName = Literal["philox", "philox_edges", "triton"]
GENERATOR_NAMES: Final[tuple[str, ...]] = get_args(GeneratorName)
LARGEST_UNIFORM: Final = 1 - 2.0**-53
"""The largest float64 below 1."""
EDGE_EVERY: Final = 8
"""`philox_edges`: one draw in so many is 0, and one the largest."""
_LOW: Final = np.uint64(0xFFFFFFFF)
_SHIFT: Final = np.uint64(32)
_MULTIPLIERS: Final = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS: Final = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
Positions = NDArray[np.int64]
Uniforms = NDArray[np.float64]


def philox4x32(counter: NDArray[Any], key: NDArray[Any], rounds: int = 10) -> NDArray[np.uint32]:
    """Return four random words for each counter, uint32 `[.., 4]`.

    Args:
        counter: Words of each counter, uint32 `[.., 4]`.
        key: Words of the key, uint32 `[2]`.
        rounds: How often the words are mixed.
    """
    words = [counter[..., place].astype(np.uint64) for place in range(4)]
    keys = [np.uint64(word) for word in key.tolist()]
    for _ in range(rounds):
        first, second = _MULTIPLIERS[0] * words[0], _MULTIPLIERS[1] * words[2]
        words = [
            (second >> _SHIFT) ^ words[1] ^ keys[0],
            second & _LOW,
            (first >> _SHIFT) ^ words[3] ^ keys[1],
            first & _LOW,
        ]
        keys = [
            np.uint64((int(word) + int(step)) & 0xFFFFFFFF)
            for word, step in zip(keys, _KEY_STEPS, strict=True)
        ]
    return np.stack(words, axis=-1).astype(np.uint32)


def _words(seed: int, blocks: NDArray[np.uint64]) -> NDArray[np.uint32]:
    counter = np.zeros((len(blocks), 4), dtype=np.uint32)
    counter[:, 0], counter[:, 1] = blocks & _LOW, blocks >> _SHIFT
    bits = seed & 0xFFFFFFFFFFFFFFFF
    return philox4x32(counter, np.array([bits & 0xFFFFFFFF, bits >> 32], dtype=np.uint64))


def philox(seed: int, positions: Positions) -> Uniforms:
    """Return the draws at these places of a seed, float64 in `[0, 1)` with 53 random bits.

    The block of place i is i // 2; it gives two draws, of words 0 and 1, and 2 and 3: the first word less 5
    bits and the second less 6.
    """
    places = positions.astype(np.uint64)
    words = _words(seed, places >> np.uint64(1)).astype(np.float64).reshape(-1, 2, 2)
    high, low = np.floor(words[..., 0] / 2**5), np.floor(words[..., 1] / 2**6)
    both = (high * 2**26 + low) / 2**53
    chosen: Uniforms = both[np.arange(len(places)), (places & np.uint64(1)).astype(np.int64)]
    return chosen


def philox_edges(seed: int, positions: Positions) -> Uniforms:
    """Return `philox` with 0 and the largest draw at fixed places: where rules of acceptance go wrong."""
    draws = philox(seed, positions)
    draws[positions % EDGE_EVERY == EDGE_EVERY // 2 - 1] = 0.0
    draws[positions % EDGE_EVERY == EDGE_EVERY - 1] = LARGEST_UNIFORM
    return draws


def triton(seed: int, positions: Positions) -> Uniforms:
    """Return `triton.language.rand(seed, offset)` at these offsets: float32 of the first word of a block.

    The word is read as a signed number, a negative one as its complement, and scaled by float32 2^-31 rounded
    down, so that the result is below 1.
    """
    word = _words(seed, positions.astype(np.uint64))[:, 0].view(np.int32)
    magnitude = np.where(word < 0, ~word, word).astype(np.float32)
    return (magnitude * np.float32(4.6566127342e-10)).astype(np.float64)


GENERATORS: Final[Mapping[str, Callable[[int, Positions], Uniforms]]] = {
    "philox": philox,
    "philox_edges": philox_edges,
    "triton": triton,
}
"""Name in the manifest to the draws of a seed at given places; each place from 0 to 2**63 - 1."""
