"""Checkpoints with int4 weights as their makers write them: GPTQ, AWQ, compressed-tensors, Ascend's words.

What crosses to the paths is what was shipped, under `KEY.packed`, `.scale` and `.offset`. The checks of the
load report see the weights multiplied out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from tracing.errors import CheckpointError
from tracing.models import Quantisation, TeacherConfig
from workbench.checkpoints.json_text import shown
from workbench.checkpoints.quantised import LAYERS
from workbench.checkpoints.shapes import teacher_shapes
from workbench.weights.int4 import PER_WORD, unpack
from workbench.weights.int4_layouts import Shipped, to_npu

Tensors = Mapping[str, torch.Tensor]
KEY: Final = "quantization_config"


@dataclass(frozen=True, slots=True)
class PartNames:
    """How a layout names the parts of a layer in a file.

    Attributes:
        packed, scale, offset: Ends of names.
        others: Ends of names that hold nothing further.
    """

    packed: str
    scale: str
    offset: str
    others: tuple[str, ...] = ()


NAMES: Final[Mapping[str, PartNames]] = {
    "gptq": PartNames("qweight", "scales", "qzeros", ("g_idx",)),
    "awq": PartNames("qweight", "scales", "qzeros"),
    "compressed-tensors": PartNames(
        "weight_packed", "weight_scale", "weight_zero_point", ("weight_shape", "weight_g_idx")
    ),
    "npu": PartNames("weight", "weight_scale", "weight_offset"),
}
METHODS: Final = {"gptq": "gptq", "awq": "awq", "compressed-tensors": "compressed-tensors", "npu-int4": "npu"}
"""`quant_method` to layout."""


@dataclass(frozen=True, slots=True)
class ReadWeights:
    """Tensors of a file.

    Attributes:
        plain: Every layer multiplied out, for checks.
        crossing: Under the names that cross: quantised layers as shipped.
    """

    plain: Tensors
    crossing: Tensors


def file_quantisation(config: Mapping[str, Any]) -> Quantisation | None:
    """Read `quantization_config`; None where there is none.

    Raises:
        CheckpointError: Other weights than int4 in one of the four layouts, named.
    """
    value = config.get(KEY)
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise CheckpointError(f"config.json: {KEY} should be an object, got {shown(value)}")
    method = value.get("quant_method")
    layout = METHODS.get(method) if isinstance(method, str) else None
    if layout is None:
        raise CheckpointError(
            f"config.json: {KEY}.quant_method is {shown(method)}; {', '.join(METHODS)} with int4 weights are "
            "supported"
        )
    own = _scheme(value) if layout == "compressed-tensors" else value
    bits = own.get("num_bits" if layout == "compressed-tensors" else "bits", 4 if layout == "npu" else None)
    _need(bits == 4, "bits", bits, "4")
    if layout == "gptq":
        _need(not value.get("desc_act"), "desc_act", value.get("desc_act"), "false (no reordered groups)")
        form = value.get("checkpoint_format", "gptq")
        _need(form == "gptq", "checkpoint_format", form, "'gptq', whose zero points are stored less one")
    if layout == "awq":
        version = value.get("version", "gemm")
        _need(str(version).lower() == "gemm", "version", version, "'gemm'")
    group = own.get("group_size")
    group = 0 if group in (None, -1) else group
    _need(type(group) is int and 0 <= group <= 1 << 16, "group_size", group, "a whole number, or -1")
    return Quantisation(layout, int(group))


def _scheme(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the one scheme of a compressed-tensors config."""
    form, groups = value.get("format"), value.get("config_groups")
    _need(form == "pack-quantized", "format", form, "'pack-quantized'")
    schemes = list(groups.values()) if isinstance(groups, Mapping) else []
    weights = schemes[0].get("weights") if len(schemes) == 1 and isinstance(schemes[0], Mapping) else None
    if not isinstance(weights, Mapping):
        raise CheckpointError(f"config.json: {KEY}.config_groups should be one group with weights")
    _need(weights.get("type", "int") == "int", "weights.type", weights.get("type"), "'int'")
    strategy = weights.get("strategy", "group")
    _need(strategy in {"group", "channel"}, "weights.strategy", strategy, "'group' or 'channel'")
    _need(weights.get("actorder") in (None, False, "weight", "static"), "weights.actorder",
          weights.get("actorder"), "none, or 'weight' (no reordered groups)")  # fmt: skip
    return weights


def _need(held: bool, name: str, value: object, expected: str) -> None:
    if not held:
        raise CheckpointError(f"config.json: {KEY}.{name} is {shown(value)}; {expected} is supported")


def read_quantised(config: TeacherConfig, raw: Tensors) -> ReadWeights:
    """Take the quantised layers of a file apart.

    Args:
        config: With its quantisation.
        raw: Tensors under the names of the file.

    Raises:
        CheckpointError: A layer is missing, misshapen, or has reordered groups.
    """
    quantisation = config.quantisation
    assert quantisation is not None
    names, shapes = NAMES[quantisation.layout], teacher_shapes(config)
    plain = dict(raw)
    crossing: dict[str, torch.Tensor] = {}
    for wanted, (columns, rows) in _layers(shapes).items():
        key = wanted.removesuffix(".weight")
        parts = {part: f"{key}.{getattr(names, part)}" for part in ("packed", "scale", "offset")}
        found = {part: plain.pop(name) for part, name in parts.items() if name in plain}
        for end in names.others:
            _check_order(plain.pop(f"{key}.{end}", None), end, key, quantisation, rows)
        missing = [parts[part] for part in ("packed", "scale") if part not in found]
        if missing:
            raise CheckpointError(
                f"{missing[0]} is missing; config.json says that the layers are int4 as {quantisation.layout}"
            )
        _check_parts(found, parts, quantisation, rows, columns)
        crossing |= {f"{key}.{part}": tensor for part, tensor in found.items()}
        plain[wanted] = _multiplied(found, quantisation, rows)
    return ReadWeights(plain, crossing)


def crossing_weights(plain: Tensors, read: ReadWeights | None) -> Tensors:
    """Return what crosses: the matched weights, quantised layers as shipped."""
    if read is None:
        return plain
    quantised = {f"{name.rpartition('.')[0]}.weight" for name in read.crossing}
    return {name: tensor for name, tensor in plain.items() if name not in quantised} | dict(read.crossing)


def _layers(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
    return {
        name: (shape[0], shape[1])
        for name, shape in shapes.items()
        if name.endswith(".weight") and name.removesuffix(".weight").endswith(LAYERS)
    }


def _check_parts(
    found: Tensors, names: Mapping[str, str], quantisation: Quantisation, rows: int, columns: int
) -> None:
    """Check shapes and kinds of numbers of one layer."""
    groups = -(-rows // (quantisation.group_size or rows))
    words = -(-rows // PER_WORD), -(-columns // PER_WORD)
    packed, scale, offset = {
        "gptq": ((words[0], columns), (groups, columns), (groups, words[1])),
        "awq": ((rows, words[1]), (groups, columns), (groups, words[1])),
        "npu": ((rows, words[1]), (groups, columns), (groups, columns)),
        "compressed-tensors": ((columns, words[0]), (columns, groups), (words[1], groups)),
    }[quantisation.layout]
    expected = {"packed": packed, "scale": scale, "offset": offset}
    for part, tensor in found.items():
        if tuple(tensor.shape) != expected[part]:
            raise CheckpointError(
                f"{names[part]} has shape {tuple(tensor.shape)}; {expected[part]} is expected for "
                f"{rows} x {columns} weights in groups of {quantisation.group_size or rows}"
            )
        is_words = part == "packed" or (part == "offset" and quantisation.layout != "npu")
        if tensor.is_floating_point() == is_words or (is_words and tensor.dtype is not torch.int32):
            kind = "int32 words" if is_words else "floating point"
            raise CheckpointError(f"{names[part]} has dtype {tensor.dtype}; {kind} expected")


def _check_order(
    order: torch.Tensor | None, end: str, key: str, quantisation: Quantisation, rows: int
) -> None:
    """Refuse rows whose groups are reordered."""
    if order is None or not end.endswith("g_idx"):
        return
    expected = torch.arange(rows) // (quantisation.group_size or rows)
    if order.shape != expected.shape or not torch.equal(order.long(), expected):
        raise CheckpointError(f"{key}.{end} reorders the groups of rows (act-order), which is not supported")


def _multiplied(found: Tensors, quantisation: Quantisation, rows: int) -> torch.Tensor:
    """Return a layer `[out, in]` in the dtype of its scale."""
    scale, offset = found["scale"], found.get("offset")
    zero = None if offset is None else (offset.float() if offset.is_floating_point() else offset).numpy()
    npu = to_npu(quantisation.layout, Shipped(found["packed"].numpy(), scale.float().numpy(), zero))
    group = np.arange(rows) // (quantisation.group_size or rows)
    numbers = unpack(npu.packed).astype(np.float32)
    if npu.offset is not None:
        numbers += npu.offset[group]
    return torch.from_numpy(numbers * npu.scale[group]).t().contiguous().to(scale.dtype)
