"""Our container: every bit comes back, or the stream is refused.

Which bugs these catch: a NaN payload, a denormal or a short last block that changes, a flipped bit that is
decoded, a size in a header that is believed.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.weights.golden_enec import generated, special_values
from tracing.errors import UsageError
from workbench.weights import container
from workbench.weights.choice import bounds, choose
from workbench.weights.floats import BFLOAT16, FLOAT16, FLOAT32, FloatFormat, Words
from workbench.weights.parameters import Parameters

LAYOUTS = [BFLOAT16, FLOAT16, FLOAT32]
by_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


def weights(layout: FloatFormat, count: int, seed: int = 5) -> Words:
    centre = 10 if layout is FLOAT16 else 121
    return generated(layout, count, seed=seed, centre=centre, lo=0, hi=centre + 4, up=1)


def there_and_back(words: Words, layout: FloatFormat, parameters: Parameters | None = None) -> Words:
    return container.read(
        container.open_stream(container.write(words, layout, parameters or choose(words, layout)))
    )


@by_layout
@pytest.mark.parametrize("count", [0, 1, 15, 255, 256, 257, 16383, 16384, 16385, 40001])
def test_every_size_comes_back(layout: FloatFormat, count: int) -> None:
    words = weights(layout, count)
    assert np.array_equal(there_and_back(words, layout), words)


@by_layout
def test_every_word_comes_back_with_any_parameters(layout: FloatFormat) -> None:
    """All 65536 words of a half precision, and as many float32 with every exponent: in order, and mixed."""
    upper = np.arange(65536, dtype=np.uint32)
    words = upper.astype(layout.word) if layout.num_bytes == 2 else (upper << 16 | upper).astype(layout.word)
    mixed = np.random.default_rng(1).permutation(words)
    for parameters in (
        Parameters(122, 6, 3),
        Parameters(12, 8, 4),
        Parameters(0, 1, 1),
        Parameters(255, 4, 2),
    ):
        for order in (words, mixed):
            assert np.array_equal(there_and_back(order, layout, parameters), order)


@by_layout
def test_blocks_out_of_range_are_stored_as_they_are(layout: FloatFormat) -> None:
    parameters = Parameters(12 if layout is FLOAT16 else 122, 5, 3)
    ordinary = generated(
        layout, 3 * container.BLOCK, seed=2, centre=parameters.base - 1, lo=parameters.base - 9,
        hi=parameters.base + 2, up=1,
    )  # fmt: skip
    ordinary[container.BLOCK + 9 : container.BLOCK + 14] = special_values(layout)
    stream = container.open_stream(container.write(ordinary, layout, parameters))
    assert stream.table["kind"].tolist() == [container.GROUPED, container.RAW, container.GROUPED]
    assert np.array_equal(container.read(stream), ordinary)


@by_layout
def test_size_is_what_the_model_says(layout: FloatFormat) -> None:
    words = weights(layout, 16 * container.BLOCK)
    parameters = choose(words, layout)
    packed = 8 * len(container.write(words, layout, parameters)) / words.size
    bound = bounds(words, layout, parameters)
    assert bound.entropy < bound.model <= packed * 1.01
    assert packed < 1.01 * bound.model
    assert packed < 8 * layout.num_bytes


def test_every_flipped_bit_of_header_and_table_and_many_of_the_blocks_are_refused() -> None:
    words = weights(BFLOAT16, 2 * container.BLOCK)
    stream = container.write(words, BFLOAT16, Parameters(122, 6, 3))
    head = 40 + 2 * container.TABLE.itemsize
    places = [*range(8 * head), *range(8 * head, 8 * len(stream), 4999)]
    for bit in places:
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(UsageError):
            container.read(container.open_stream(bytes(damaged)))


@pytest.mark.parametrize("size", [0, 3, 39, 40, 60, -1])
def test_a_cut_stream_is_refused(size: int) -> None:
    stream = container.write(weights(BFLOAT16, 20000), BFLOAT16, Parameters(122, 6, 3))
    with pytest.raises(UsageError):
        container.open_stream(stream[:size])
    with pytest.raises(UsageError, match="tail"):
        container.open_stream(stream + b"\0")


def test_a_forged_table_with_a_true_checksum_is_refused() -> None:
    """Whoever forges a stream can also compute its checksums: sizes and masks are checked by themselves."""
    words = weights(BFLOAT16, container.BLOCK)
    parameters = Parameters(122, 6, 3)
    good = container.open_stream(container.write(words, BFLOAT16, parameters))
    block = bytearray(good.data[52:].tobytes())
    block[22528 + 3] ^= 0xFF  # the mask: another number of groups
    for part in (bytes(block), bytes(block[:100])):
        forged = forge(good, part)
        with pytest.raises(UsageError, match=r"disagrees with its mask|has 100 bytes"):
            container.read(container.open_stream(forged))


def forge(like: container.Stream, block: bytes) -> bytes:
    """Return a stream of one block, with every checksum as it should be."""
    import zlib

    table = like.table.copy()
    table["bytes"], table["check"] = len(block), zlib.crc32(block)
    header = bytearray(like.data[:40].tobytes())
    header[20:28] = (52 + len(block)).to_bytes(8, "little")
    check = zlib.crc32(table.tobytes(), zlib.crc32(bytes(header[:-4])))
    return bytes(header[:-4]) + check.to_bytes(4, "little") + table.tobytes() + block
