"""int4 weights as the layouts ship them, multiplied out as each layout's own page says: `(u - z) * s`.

Nothing here is shared with what packs or converts them: a wrong order of nibbles, scale or group over there
gives another weight here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracing.errors import CheckpointError
from tracing.models import Quantisation

NATURAL = (0, 1, 2, 3, 4, 5, 6, 7)
INTERLEAVED = (0, 2, 4, 6, 1, 3, 5, 7)
PARTS = (".packed", ".scale", ".offset")


@dataclass(frozen=True, slots=True)
class Coding:
    """How a layout stores W `[out, in]`.

    Attributes:
        axis: Axis of the stored weight that is packed; zero points are packed along the axis of the columns.
        order: Which of eight numbers each place of a word holds, lowest place first.
        rows_are_outputs: Stored as `[out, in]`, else as `[in, out]`.
        zero_is_one_less: Zero points are stored less one.
        signed: Numbers are two's complement and the offset is added, as a number like the scale.
    """

    axis: int
    order: tuple[int, ...] = NATURAL
    rows_are_outputs: bool = False
    zero_is_one_less: bool = False
    signed: bool = False


CODINGS = {
    "compressed-tensors": Coding(1, rows_are_outputs=True),
    "gptq": Coding(0, zero_is_one_less=True),
    "awq": Coding(1, INTERLEAVED),
    "npu": Coding(1, signed=True),
}


def with_plain_weights(
    weights: Mapping[str, Any], quantisation: Quantisation | None, dtype: torch.dtype
) -> dict[str, Any]:
    """Return weights in which every quantised layer has a plain `.weight` `[out, in]`.

    Args:
        weights: Plain data from a checkpoint.
        quantisation: How the layers are stored; None returns the weights as they are.
        dtype: To which scales and the multiplied weights are rounded: that of the path that holds them.

    Raises:
        CheckpointError: An unknown layout, or a layer without its scale.
    """
    if quantisation is None:
        return dict(weights)
    if quantisation.layout not in CODINGS:
        raise CheckpointError(
            f"int4 layouts are {', '.join(CODINGS)}; the configuration says {quantisation.layout!r}"
        )
    plain = {name: tensor for name, tensor in weights.items() if not name.endswith(PARTS)}
    for name in weights:
        if name.endswith(".packed"):
            key = name.removesuffix(".packed")
            plain[f"{key}.weight"] = _multiplied(weights, key, quantisation, dtype)
    return plain


def _multiplied(
    weights: Mapping[str, Any], key: str, quantisation: Quantisation, dtype: torch.dtype
) -> Tensor:
    """Return one weight `[out, in]`; the product is exact in float64 and rounded once."""
    coding = CODINGS[quantisation.layout]
    stored = _numbers(weights[f"{key}.packed"], coding.axis, coding.order)
    if f"{key}.scale" not in weights:
        raise CheckpointError(f"{key}.packed is there without {key}.scale")
    scale = weights[f"{key}.scale"].to(dtype).double()
    zero = _zeros(weights.get(f"{key}.offset"), coding, scale)
    if not coding.rows_are_outputs:
        stored, scale, zero = stored.T, scale.T, zero.T
    elif zero.shape != scale.shape:
        zero = zero[: len(scale)]  # rows that only fill the last word
    num_inputs = stored.shape[1]
    group = torch.arange(num_inputs) // (quantisation.group_size or num_inputs)
    values = stored.double()
    if coding.signed:
        values = torch.where(values > 7, values - 16, values)
    weight: Tensor = ((values - zero[:, group]) * scale[:, group]).to(dtype)
    return weight


def _numbers(words: Tensor, axis: int, order: tuple[int, ...]) -> Tensor:
    """Return the numbers 0 to 15 of int32 words, eight times as many along `axis`."""
    places = {order[place]: (words.long() >> (4 * place)) & 15 for place in range(8)}
    return torch.stack([places[number] for number in range(8)], dim=axis + 1).flatten(axis, axis + 1)


def _zeros(offset: Tensor | None, coding: Coding, scale: Tensor) -> Tensor:
    """Return what is subtracted from each number, float64, shaped as the scale."""
    if offset is None:
        return torch.full_like(scale, 0.0 if coding.signed else 8.0)
    if coding.signed:
        return -offset.double()
    columns = 0 if coding.rows_are_outputs else 1
    return _numbers(offset, columns, coding.order).double() + int(coding.zero_is_one_less)
