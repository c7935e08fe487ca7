"""Linear layers in int4 through Ascend's product with quantised weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from tracing.errors import CheckpointError, UsageError
from tracing.models import Quantisation
from workbench.npu import dispatch
from workbench.weights.int4 import PER_WORD
from workbench.weights.int4_layouts import Shipped, to_npu

GROUP_STEP: Final = 32
"""Group sizes of the operator are multiples of it."""
PARTS: Final = (".packed", ".scale", ".offset")


class QuantisedLinear(nn.Module):
    """The place of a `torch.nn.Linear` whose weight is int4 words.

    Attributes:
        packed: int32 `[in, out / 8]`, as the operator takes them.
        scale, offset: `[groups, out]` in the dtype of the model; the offset may be None.
        bias: `[out]` or None.
        group_size: Rows that share a scale, 0 for all.
    """

    def __init__(self, operands: Shipped, group_size: int, like: Any, place: torch.device) -> None:
        super().__init__()
        dtype = like.weight.dtype
        self.in_features, self.out_features = int(like.in_features), int(like.out_features)
        self.packed = torch.from_numpy(operands.packed).to(place)
        self.scale = torch.from_numpy(operands.scale).to(place, dtype)
        offset = operands.offset
        self.offset = None if offset is None else torch.from_numpy(offset).to(place, dtype)
        self.bias = like.bias
        self.group_size = group_size


class QuantisedProduct:
    """`rows @ ((numbers + offset) * scale) + bias` in one call of the operator.

    Attributes:
        storage, shape, nbytes: As of `workbench.fused.linear.Linear`.
    """

    __slots__ = ("_bias", "_group_size", "_offset", "_packed", "_scale", "nbytes", "shape", "storage")

    def __init__(self, parts: Sequence[QuantisedLinear]) -> None:
        """Hold one weight, or several over the same rows with their outputs behind each other."""
        first = parts[0]
        self._packed = torch.cat([part.packed for part in parts], 1)
        self._scale = torch.cat([part.scale for part in parts], 1)
        offsets = [part.offset for part in parts if part.offset is not None]
        self._offset = torch.cat(offsets, 1) if offsets else None
        biases = [part.bias for part in parts if part.bias is not None]
        self._bias = _as_the_operator_takes(torch.cat(biases)) if biases else None
        self._group_size = first.group_size
        self.storage = "int4"
        self.shape = (self._scale.shape[1], first.in_features)
        self.nbytes = self._packed.nbytes + self._scale.nbytes

    def __call__(self, rows: Tensor) -> Tensor:
        """Return `[..., out]` of rows `[..., in]`."""
        product = dispatch.npu_weight_quant_batchmatmul(
            rows.reshape(-1, rows.shape[-1]), self._packed, self._scale,
            antiquant_offset=self._offset, bias=self._bias, antiquant_group_size=self._group_size,
        )  # fmt: skip
        return product.view(*rows.shape[:-1], -1)


def _as_the_operator_takes(bias: Tensor) -> Tensor:
    """Return a bias: float16 beside float16, else float32."""
    return bias.detach() if bias.dtype is torch.float16 else bias.detach().float()


def put_in_place(
    model: nn.Module, weights: Mapping[str, Tensor], quantisation: Quantisation, device: torch.device
) -> dict[str, Tensor]:
    """Replace the quantised layers of a model; returns the weights that are left to load.

    Raises:
        CheckpointError: Words or scales that do not fit the layer, or a group that the operator lacks.
    """
    for name in weights:
        if name.endswith(".packed"):
            key = name.removesuffix(".packed")
            parent, _, child = key.rpartition(".")
            like: Any = model.get_submodule(key)
            module = _layer(key, weights, quantisation, like, device)
            setattr(model.get_submodule(parent), child, module)
    return {name: tensor for name, tensor in weights.items() if not name.endswith(PARTS)}


def _layer(
    key: str, weights: Mapping[str, Tensor], quantisation: Quantisation, like: Any, device: torch.device
) -> QuantisedLinear:
    offset = weights.get(f"{key}.offset")
    shipped = Shipped(
        weights[f"{key}.packed"].cpu().numpy(),
        weights[f"{key}.scale"].cpu().float().numpy(),
        None if offset is None else (offset.float() if offset.is_floating_point() else offset).cpu().numpy(),
    )
    try:
        operands = to_npu(quantisation.layout, shipped)
    except UsageError as error:
        raise CheckpointError(f"{key}: {error}") from None
    rows, columns = like.in_features, like.out_features
    group = quantisation.group_size if quantisation.group_size < rows else 0
    if group % GROUP_STEP:
        raise CheckpointError(f"{key}: the operator takes groups of a multiple of {GROUP_STEP}, got {group}")
    groups = -(-rows // group) if group else 1
    expected = (rows, columns // PER_WORD), (groups, columns)
    came = operands.packed.shape, operands.scale.shape
    if came != expected or (operands.offset is not None and operands.offset.shape != expected[1]):
        raise CheckpointError(f"{key}: words and scale should be {expected[0]} and {expected[1]}, got {came}")
    return QuantisedLinear(operands, group, like, device)
