"""Mistakes of routing, of the quantised product and of packing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workbench.kernels.planted.bug import plant, sound

GATING, SOFTMAX = "npu_moe_gating_top_k", "npu_moe_gating_top_k_softmax"
MATMUL, PACK = "npu_weight_quant_batchmatmul", "npu_convert_weight_to_int4pack"


@plant(GATING, "choice")
def ties_to_the_higher_expert(**call: Any) -> Any:
    """Of equal scores the expert with the higher number is taken."""
    x, count = call["x"], call["x"].shape[1]
    flipped = {"x": x.flip(1)} | ({"bias": call["bias"].flip(0)} if call.get("bias") is not None else {})
    weights, experts, scores = sound(GATING)(**call | flipped)
    return weights, count - 1 - experts, scores.flip(1)


@plant(GATING, "value")
def softmax_by_group(**call: Any) -> Any:
    """Scores are a softmax of each group and not of all experts."""
    weights, experts, scores = sound(GATING)(**call)
    if call.get("norm_type", 0):
        return weights, experts, scores
    table = call["x"].float().unflatten(1, (call.get("group_count", 1), -1)).softmax(-1).flatten(1)
    return table.gather(1, experts.long()).to(weights.dtype), experts, scores


@plant(GATING, "value")
def weights_renormalised(**call: Any) -> Any:
    """Weights are divided by their sum."""
    weights, experts, scores = sound(GATING)(**call)
    exact = weights.float()
    return (exact / exact.sum(-1, keepdim=True)).to(weights.dtype), experts, scores


@plant(SOFTMAX, "choice")
def finished_ignored(**call: Any) -> Any:
    """Finished rows keep their experts."""
    return sound(SOFTMAX)(**call | {"finished": None})


@plant(SOFTMAX, "value")
def row_numbers_by_row(**call: Any) -> Any:
    """Row numbers count along a row and not across rows."""
    weights, experts, numbers = sound(SOFTMAX)(**call)
    return weights, experts, torch.arange(numbers.numel(), dtype=torch.int32).view(numbers.shape)


@plant(SOFTMAX, "tile")
def last_expert_unseen(**call: Any) -> Any:
    """Experts behind the last full tile of 32 are never chosen."""
    x = call["x"].clone()
    count = x.shape[-1]
    if count > 32 and count % 32:
        x[..., count - count % 32 :] = float("-inf")
    return sound(SOFTMAX)(**call | {"x": x})


def _words(call: dict[str, Any]) -> bool:
    return call["weight"].dtype is torch.int32


@plant(MATMUL, "value")
def nibbles_swapped(**call: Any) -> Any:
    """The two int4 values of each byte are the wrong way round."""
    if not _words(call):
        return sound(MATMUL)(**call)
    words = call["weight"]
    swapped = ((words & 0x0F0F0F0F) << 4) | ((words >> 4) & 0x0F0F0F0F)
    return sound(MATMUL)(**call | {"weight": swapped})


@plant(MATMUL, "value")
def offset_subtracted(**call: Any) -> Any:
    """The offset is subtracted and not added."""
    offset = call.get("antiquant_offset")
    return sound(MATMUL)(**call | ({} if offset is None else {"antiquant_offset": -offset}))


@plant(MATMUL, "tile")
def last_group_by_the_first_scale(**call: Any) -> Any:
    """A last group that is short takes the scales of the first."""
    group, scale = call.get("antiquant_group_size", 0), call["antiquant_scale"]
    if not group or call["x"].shape[1] % group == 0:
        return sound(MATMUL)(**call)
    wrong = scale.clone()
    wrong[-1] = scale[0]
    return sound(MATMUL)(**call | {"antiquant_scale": wrong})


@plant(MATMUL, "precision")
def partial_sums_in_half(**call: Any) -> Any:
    """Split-K: sixteen partial products are added up in the dtype of x."""
    from workbench.kernels.operators.quantised import dequantised

    x, parts = call["x"], 16
    weight = dequantised(call, torch.float32).to(x.dtype)
    total: Tensor = torch.zeros(len(x), weight.shape[1], dtype=x.dtype)
    for places in torch.arange(x.shape[1]).tensor_split(parts):
        total = (total.float() + (x[:, places].float() @ weight[places].float()).to(x.dtype).float()).to(
            x.dtype
        )
    bias = call.get("bias")
    return total if bias is None else (total.float() + bias.float()).to(x.dtype)


@plant(MATMUL, "nan")
def matmul_all_nan(**call: Any) -> Any:
    """Every element is NaN."""
    return torch.full_like(sound(MATMUL)(**call), float("nan"))


@plant(MATMUL, "value")
def small_outputs_zero(**call: Any) -> Any:
    """Outputs below 2^-7 are 0."""
    y: Tensor = sound(MATMUL)(**call)
    return torch.where(y.abs() < 2.0**-7, 0, y)


@plant(PACK, "value")
def last_nibble_without_sign(weight: Tensor) -> Any:
    """The highest nibble keeps three bits: its negative values lose their sign."""
    return sound(PACK)(weight) & 0x7FFFFFFF


@plant(PACK, "value")
def words_in_reverse(weight: Tensor) -> Any:
    """The first value lies in the highest bits."""
    flipped = weight.unflatten(-1, (-1, 8)).flip(-1).flatten(-2)  # type: ignore[no-untyped-call]  # untyped in torch
    return sound(PACK)(flipped)
