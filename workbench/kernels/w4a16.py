"""Two ways to multiply with int4 weights: candidates for `npu_weight_quant_batchmatmul`, and their traffic.

As on a device whose vector cores multiply the weight out and whose matrix cores take it in half: a tile of
the weight is multiplied out into a workspace in the dtype of x, then taken from there. *Data parallel* cuts
the columns; *split-K* cuts the summed axis and adds float32 partial sums, so that few columns still give all
cores work.

    specwb kernels run npu_weight_quant_batchmatmul --candidate workbench.kernels.w4a16:split_k
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from workbench.npu.operators.weight_quant_batchmatmul import logical_shape, unpack_int4
from workbench.weights.int4 import PER_WORD

TILE_COLUMNS: Final = 256
PARTS: Final = 4


def data_parallel(**arguments: Any) -> Tensor:
    """Return `x @ ((weight + offset) * scale) + bias`, tile of columns by tile of columns."""
    call = QuantisedCall.of(arguments)
    tiles = [
        call.x.float() @ call.workspace(slice(0, call.inner), columns).float()
        for columns in _pieces(call.columns, TILE_COLUMNS)
    ]
    return call.result(torch.cat(tiles, 1))


def split_k(**arguments: Any) -> Tensor:
    """Return the same; partial sums over parts of the summed axis are float32 and added in order."""
    call = QuantisedCall.of(arguments)
    return call.result(call.summed(PARTS))


@dataclass(frozen=True, slots=True)
class QuantisedCall:
    """One call of the operator, taken apart.

    Attributes:
        x, weight, bias: As given.
        scale, offset: `[1 or groups, 1 or N]`; the offset may be None.
        group: Rows of K in a group, 0 without groups.
        inner, columns: K and N.
    """

    x: Tensor
    weight: Tensor
    scale: Tensor
    offset: Tensor | None
    bias: Tensor | None
    group: int
    inner: int
    columns: int

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> QuantisedCall:
        """Read the arguments by the names of the schema; a quantised output is not computed here."""
        for name in ("quant_scale", "quant_offset", "weight_dtype"):
            if arguments.get(name) is not None:
                raise NotImplementedError(f"{name} is not read here")
        weight, scale, offset = (
            arguments.get(name) for name in ("weight", "antiquant_scale", "antiquant_offset")
        )
        assert isinstance(weight, Tensor)
        assert isinstance(scale, Tensor)
        inner, columns = logical_shape(weight)
        return cls(
            arguments["x"],
            weight,
            scale.reshape(-1, scale.shape[-1]),
            None if offset is None else offset.reshape(-1, offset.shape[-1]),
            arguments.get("bias"),
            arguments.get("antiquant_group_size", 0),
            inner,
            columns,
        )

    def workspace(self, rows: slice, columns: slice) -> Tensor:
        """Return a tile of the weight multiplied out, in the dtype of x."""
        values = self._numbers(rows, columns).float()
        if self.offset is not None:
            values = values + self._table(self.offset, rows, columns)
        return (values * self._table(self.scale, rows, columns)).to(self.x.dtype)

    def _numbers(self, rows: slice, columns: slice) -> Tensor:
        if self.weight.dtype is not torch.int32:
            return self.weight[rows, columns]
        if self.weight.is_contiguous():
            return unpack_int4(self.weight[rows, _words(columns)])
        return unpack_int4(self.weight.t()[columns, _words(rows)]).t()

    def _table(self, table: Tensor, rows: slice, columns: slice) -> Tensor:
        part = table if table.shape[1] == 1 else table[:, columns]
        if not self.group:
            return part.float()
        return part[torch.arange(rows.start, rows.stop) // self.group].float()

    def summed(self, parts: int) -> Tensor:
        """Return float32 sums, part by part of the summed axis; a part holds whole groups and words."""
        unit = math.lcm(self.group or PER_WORD, PER_WORD)
        step = -(-self.inner // (parts * unit)) * unit
        total = torch.zeros(len(self.x), self.columns, device=self.x.device)
        for rows in _pieces(self.inner, step):
            total += self.x[:, rows].float() @ self.workspace(rows, slice(0, self.columns)).float()
        return total

    def result(self, sums: Tensor) -> Tensor:
        """Return the sums with the bias, rounded once."""
        return (sums if self.bias is None else sums + self.bias.float()).to(self.x.dtype)


def _pieces(size: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def _words(numbers: slice) -> slice:
    return slice(numbers.start // PER_WORD, -(-numbers.stop // PER_WORD))


@dataclass(frozen=True, slots=True)
class ProductTraffic:
    """Bytes that a product with int4 weights moves when its weight goes through a workspace in half.

    Attributes:
        packed: int4 words, scales and offsets, read.
        half_written, half_read: The workspace.
        partials: float32 partial sums, written and read.
        others: Activations, results.
        native: All bytes of the same product with weights in half.
    """

    packed: int
    half_written: int
    half_read: int
    partials: int
    others: int
    native: int

    @property
    def through_memory(self) -> float:
        """Speed-up over weights in half if memory were all and the workspace went through it."""
        moved = self.packed + self.half_written + self.half_read + self.partials + self.others
        return self.native / moved

    @property
    def in_cache(self) -> float:
        """The same if the workspace and the partial sums never left a cache: the most there is to gain."""
        return self.native / (self.packed + self.others)


def product_traffic(rows: int, inner: int, columns: int, *, group: int, parts: int = 1) -> ProductTraffic:
    """Return what a product `[rows, inner] @ [inner, columns]` moves; scales and activations are half."""
    groups = -(-inner // group) if group else 1
    half = 2 * inner * columns
    others = 2 * rows * (inner + columns)
    return ProductTraffic(
        packed=inner * columns // 2 + 2 * groups * columns,
        half_written=half,
        half_read=half,
        partials=2 * 4 * parts * rows * columns if parts > 1 else 0,
        others=others,
        native=half + others,
    )
