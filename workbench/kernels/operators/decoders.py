"""Decoding packed weights: every bit of the original, NaN payloads included.

The border's own is numpy, the law; `workbench.kernels.operators.decoders:compiled` is a candidate, compiled.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from tracing.errors import EnvironmentProblemError
from workbench.kernels.kernel import Arguments, Draw, Exact, Kernel, Order, Trial, moved
from workbench.kernels.operators.forms import DTYPES, named, poked
from workbench.weights import container, native
from workbench.weights.choice import choose
from workbench.weights.container import BLOCK, DecodeBlocks
from workbench.weights.floats import FORMATS
from workbench.weights.grouped import decode_blocks

_WORDS = {2: torch.uint16, 4: torch.uint32}


def decoded(packed: Tensor, decode: DecodeBlocks) -> Tensor:
    """Return the tensor of a stream, uint8 `[bytes]`, by a decoder of blocks."""
    stream = container.open_stream(packed.cpu().numpy())
    words = container.read(stream, decode=decode)
    dtype = getattr(torch, stream.layout.name)
    return torch.from_numpy(words.copy()).view(dtype).to(packed.device)


def by_numpy(packed: Tensor) -> Tensor:
    """Return the tensor of a stream, decoded by numpy."""
    return decoded(packed, decode_blocks)


def compiled(packed: Tensor) -> Tensor:
    """Return the tensor of a stream, decoded by the compiled decoder.

    Raises:
        EnvironmentProblemError: There is none on this machine.
    """
    decode, why = native.compiled()
    if decode is None:
        raise EnvironmentProblemError(why)
    return decoded(packed, decode)


def packed_stream(tensor: Tensor) -> bytes:
    """Return the stream of a tensor under the parameters that fit it best."""
    layout = FORMATS[str(tensor.dtype).removeprefix("torch.")]
    words = tensor.contiguous().view(_WORDS[layout.num_bytes]).numpy().astype(layout.word)
    return container.write(words, layout, choose(words, layout))


def truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return the tensor that a stream holds: the one that packs into these very bytes.

    Raises:
        ValueError: Packing what was decoded gives another stream.
    """
    tensor = by_numpy(arguments["packed"])
    if packed_stream(tensor) != arguments["packed"].numpy().tobytes():
        raise ValueError("packing what was decoded gives another stream")
    return (moved(tensor),)


def reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return what numpy decodes."""
    return (by_numpy(arguments["packed"]),)


def call(draw: Draw, count: int, dtype: torch.dtype, *, spread: float = 0.02, odd: bool = False) -> Arguments:
    """Return the stream of weights; odd ones hold NaN, both infinities, -0 and denormals."""
    weights = draw.normal(count, dtype=dtype, scale=spread)
    if odd:
        poked(weights, float("nan"), float("inf"), float("-inf"), -0.0, 2.0**-24, 2.0**-149)
    return {"packed": torch.frombuffer(bytearray(packed_stream(weights)), dtype=torch.uint8)}


def bits_call(draw: Draw, count: int) -> Arguments:
    """Return the stream of random bits, which no parameters make smaller: raw blocks."""
    weights = draw.integers(-(1 << 15), 1 << 15, count).to(torch.int16).view(torch.bfloat16)
    return {"packed": torch.frombuffer(bytearray(packed_stream(weights)), dtype=torch.uint8)}


def cases() -> Iterator[Trial]:
    """Yield the cases."""
    for dtype in DTYPES:
        yield Trial(f"static-{named(dtype)}", partial(call, count=BLOCK + 4000, dtype=dtype))
        yield Trial(f"odd-{named(dtype)}", partial(call, count=5000, dtype=dtype, odd=True), "nan", "dynamic")
    for count in (1, 15, 17, 511, 513, BLOCK - 1, BLOCK, BLOCK + 1):
        yield Trial(f"count-{count}", partial(call, count=count, dtype=torch.bfloat16), "tile", "dynamic")
    yield Trial("raw", partial(bits_call, count=3000), "large", "dynamic")
    yield Trial("equal", partial(call, count=2000, dtype=torch.float16, spread=0.0), "ties", "dynamic")
    small = partial(call, count=3000, dtype=torch.float16, spread=2.0**-20)
    yield Trial("denormal", small, "denormal", "dynamic")


weights_decode = Kernel(
    name="weights_decode",
    level=3,
    about="a tensor of weights out of its packed stream",
    rule="default",
    truth=truth,
    reference=reference,
    own=by_numpy,
    heavy=partial(call, count=1 << 21, dtype=torch.bfloat16),
    cases=tuple(cases()),
)
