"""Faults of int4 weights: numbers, scales or groups read in another order than they are shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch

from workbench.faults.families.kernels import PREFILL
from workbench.faults.fault import fault
from workbench.faults.placement import on_function, on_operator
from workbench.fused import quantised
from workbench.weights.int4 import nibbles, pack, unpack
from workbench.weights.int4_layouts import Shipped

PRODUCT: Final = "npu_weight_quant_batchmatmul"
PARTS: Final = 4
"""Parts into which a split product cuts the summed axis."""
Convert = Callable[[str, Shipped], Shipped]
Operator = Callable[..., Any]

converting: Final = partial(
    fault, stage="prefill", noticed_by=PREFILL, placed=on_function(quantised, "to_npu"), need="w4a16"
)
multiplying: Final = partial(
    fault, stage="prefill", noticed_by=PREFILL, placed=on_operator(PRODUCT), need="w4a16"
)


@converting("F-INT4-01", "op-plugin page of npu_convert_weight_to_int4pack: the order is not stated")
def high_nibble_first(convert: Convert, layout: str, shipped: Shipped) -> Shipped:
    """The eight numbers of a word are packed from the highest bits down."""
    made = convert(layout, shipped)
    numbers = unpack(made.packed)
    turned = numbers.reshape(len(numbers), -1, 8)[:, :, ::-1].reshape(numbers.shape)
    return replace(made, packed=pack(turned))


@converting("F-INT4-02", "pie-project/pie#491", "amd/Quark#30", need="w4a16_awq")
def interleaved_order_not_undone(convert: Convert, layout: str, shipped: Shipped) -> Shipped:
    """Words of AWQ are read in natural order."""
    made = convert(layout, shipped)
    natural = nibbles(shipped.packed).astype(np.int8) - np.int8(8)
    return replace(made, packed=pack(natural))


@converting("F-INT4-03", "community notes on Ascend W4A16: raw < 8 ? raw : raw - 16")
def sign_bit_lost(convert: Convert, layout: str, shipped: Shipped) -> Shipped:
    """Numbers with an offset of 8 go to the operator as they are, which reads them as two's complement."""
    made = convert(layout, shipped)
    return replace(made, packed=pack(unpack(made.packed) + np.int8(8)))


@converting("F-INT4-04", "vllm#38966", "vllm#26343")
def stored_zero_taken_as_it_is(convert: Convert, layout: str, shipped: Shipped) -> Shipped:
    """The one that GPTQ takes off its zero points is not put back."""
    made = convert(layout, shipped)
    assert made.offset is not None
    return replace(made, offset=made.offset + 1)


@converting("F-INT4-05", "op-plugin page of npu_weight_quant_batchmatmul: the offset is added")
def zero_given_as_offset(convert: Convert, layout: str, shipped: Shipped) -> Shipped:
    """The offset has the sign of a zero point that would be subtracted."""
    made = convert(layout, shipped)
    assert made.offset is not None
    return replace(made, offset=-made.offset)


@converting("F-INT4-06", "vllm#41511")
def scales_of_the_next_group(convert: Convert, layout: str, shipped: Shipped) -> Shipped:
    """Each group of rows is multiplied by the scales of the next one."""
    made = convert(layout, shipped)
    return replace(made, scale=np.roll(made.scale, -1, axis=0))


@converting("F-INT4-07", "vllm#50196", "vllm#13769")
def scales_of_another_column(convert: Convert, layout: str, shipped: Shipped) -> Shipped:
    """The scales of neighbouring columns change places, as after a transposed shard."""
    made = convert(layout, shipped)
    swapped = made.scale.reshape(len(made.scale), -1, 2)[:, :, ::-1]
    return replace(made, scale=np.ascontiguousarray(swapped).reshape(made.scale.shape))


@multiplying("F-INT4-08", "vllm#41511")
def groups_twice_as_long(operator: Operator, rows: torch.Tensor, *operands: Any, **options: Any) -> Any:
    """A kernel built for groups of twice the size reads every second scale."""
    weight, scale = operands
    group = options["antiquant_group_size"]
    if not group or len(scale) % 2:
        return operator(rows, *operands, **options)
    offset = options["antiquant_offset"]
    doubled = {"antiquant_offset": None if offset is None else offset[::2].repeat_interleave(2, 0)}
    return operator(rows, weight, scale[::2].repeat_interleave(2, 0), **(options | doubled))


@multiplying("F-INT4-09", "arXiv 2601.16536: partial sums are reduced through global memory")
def partial_sums_in_half_precision(
    operator: Operator, rows: torch.Tensor, *operands: Any, **options: Any
) -> Any:
    """The partial sums of a product that is split along the summed axis are added in float16."""
    bias = options["bias"]
    total: Any = 0.0
    step = -(-rows.shape[1] // PARTS)
    for start in range(0, rows.shape[1], step):
        part = torch.zeros_like(rows)
        part[:, start : start + step] = rows[:, start : start + step]
        total = total + operator(part, *operands, **(options | {"bias": None})).half()
    return (total.float() + (0.0 if bias is None else bias.float())).to(rows.dtype)


@multiplying("F-INT4-10", "arXiv 2601.16536: the last part of a split product")
def last_part_left_out(operator: Operator, rows: torch.Tensor, *operands: Any, **options: Any) -> Any:
    """The rows of the last quarter of a split product are never added."""
    cut = rows.clone()
    cut[:, rows.shape[1] - rows.shape[1] // PARTS :] = 0
    return operator(cut, *operands, **options)


@multiplying("F-INT4-11", "huggingface/text-generation-inference#1036")
def bias_in_every_part(operator: Operator, rows: torch.Tensor, *operands: Any, **options: Any) -> Any:
    """Each part of a split product adds the bias."""
    bias = options["bias"]
    return operator(rows, *operands, **(options | {"bias": None if bias is None else PARTS * bias}))
