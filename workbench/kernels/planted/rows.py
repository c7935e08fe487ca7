"""Mistakes within a row: norms, rotary embedding, SwiGLU, masking of logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workbench.kernels.planted.bug import plant, sound

TILE = 64
RMS, ADD, ADD_V2 = "npu_rms_norm", "npu_add_rms_norm", "npu_add_rms_norm_v2"
ROTARY, ROPE, SWIGLU, TOP = "npu_rotary_mul", "npu_apply_rotary_pos_emb", "npu_swiglu", "npu_top_k_top_p"


@plant(RMS, "tile")
def rms_without_last_tile(**call: Any) -> Any:
    """The mean leaves out the columns behind the last full tile of 64."""
    x, gamma = call["input"], call["gamma"]
    width = x.shape[-1]
    full = width - width % TILE if width > TILE else width
    cut = x.float()
    rstd = torch.rsqrt(cut[..., :full].square().sum(-1, keepdim=True) / width + call.get("epsilon", 1e-6))
    return (cut * rstd * gamma.float()).to(x.dtype), rstd


@plant(RMS, "value")
def rms_without_epsilon(**call: Any) -> Any:
    """Epsilon is forgotten, which only small rows show."""
    return sound(RMS)(**call | {"epsilon": 0.0})


@plant(RMS, "nan")
def rms_all_nan(**call: Any) -> Any:
    """Every element of y is NaN."""
    y, rstd = sound(RMS)(**call)
    return torch.full_like(y, float("nan")), rstd


@plant(RMS, "precision")
def rms_half_statistics(**call: Any) -> Any:
    """The sum of squares is kept in the dtype of the input."""
    x = call["input"]
    rstd = torch.rsqrt(x.square().mean(-1, keepdim=True) + call.get("epsilon", 1e-6))
    return (x * rstd * call["gamma"]).to(x.dtype), rstd.float()


@plant(ADD, "form")
def add_rms_two_outputs(**call: Any) -> Any:
    """The third output, the sum, is not returned."""
    return list(sound(ADD)(**call)[:2])


@plant(ADD, "value")
def add_rms_without_residual(**call: Any) -> Any:
    """The sum that is returned is the first summand."""
    y, rstd, _ = sound(ADD)(**call)
    return y, rstd, call["x1"].clone()


@plant(ADD_V2, "memory")
def add_rms_v2_keeps_x1(**call: Any) -> Any:
    """The sum is not written to x1."""
    y, rstd, _ = sound(ADD)(**call)
    call["x2"].copy_(y)
    return rstd


@plant(ROTARY, "value")
def rotary_turned_the_other_way(**call: Any) -> Any:
    """The sign of the sine is wrong."""
    return sound(ROTARY)(**call | {"r2": -call["r2"]})


@plant(ROTARY, "tile")
def rotary_skips_last_odd_head(**call: Any) -> Any:
    """Heads are turned in pairs; an odd last one is left as it is."""
    y: Tensor = sound(ROTARY)(**call)
    if call["input"].dim() == 4 and y.shape[2] % 2 and y.shape[2] > 1:
        y[:, :, -1] = call["input"][:, :, -1]
    return y


@plant(ROTARY, "value")
def rotary_pairs_for_halves(**call: Any) -> Any:
    """Even and odd places are turned where halves are asked for."""
    x, r1, r2 = call["input"], call["r1"], call["r2"]
    turned = torch.stack((-x[..., 1::2], x[..., 0::2]), -1).flatten(-2)
    return (x.float() * r1.float() + turned.float() * r2.float()).to(x.dtype)


@plant(ROPE, "value")
def rope_leaves_key(**call: Any) -> Any:
    """The key is returned and left as it was."""
    key = call["key"].clone()
    query, _ = sound(ROPE)(**call)
    call["key"].copy_(key)
    return query, call["key"]


@plant(ROPE, "memory")
def rope_writes_tables(**call: Any) -> Any:
    """The sine table serves as scratch memory."""
    result = sound(ROPE)(**call)
    call["sin"].neg_()
    return result


@plant(SWIGLU, "value")
def swiglu_up_first(**call: Any) -> Any:
    """Gate and up are the wrong way round."""
    dim = call.get("dim", -1)
    gate, up = call["input"].chunk(2, dim)
    return sound(SWIGLU)(input=torch.cat((up, gate), dim), dim=dim)


@plant(SWIGLU, "nan")
def swiglu_overflowing_sigmoid(**call: Any) -> Any:
    """exp(x) / (1 + exp(x)) is infinity over infinity for a large gate: NaN there alone."""
    gate, up = call["input"].float().chunk(2, call.get("dim", -1))
    raised = torch.exp(gate)
    return (gate * (raised / (1 + raised)) * up).to(call["input"].dtype)


@plant(SWIGLU, "tile")
def swiglu_last_tile_zero(**call: Any) -> Any:
    """What lies behind the last full tile of 64 along the last axis stays 0."""
    y: Tensor = sound(SWIGLU)(**call)
    width = y.shape[-1]
    if width > TILE and width % TILE:
        y[..., width - width % TILE :] = 0
    return y


@plant(TOP, "choice")
def top_k_drops_ties(**call: Any) -> Any:
    """Of values equal to the k-th largest only as many stay as make k."""
    logits, result = call["logits"], torch.full_like(call["logits"], float("-inf"))
    kept = sound(TOP)(**call)
    for row, k in enumerate(call["k"].tolist()):
        places = logits[row].sort(descending=True, stable=True).indices[:k]
        result[row, places] = kept[row, places]
    return result


@plant(TOP, "choice")
def top_p_reaches_too_far(**call: Any) -> Any:
    """The token that crosses p is dropped too."""
    y: Tensor = sound(TOP)(**call)
    for row in y:
        kept = row.isfinite().nonzero()[:, 0]
        if len(kept) > 1:
            row[kept[row[kept].argmin()]] = float("-inf")
    return y


@plant(TOP, "nan")
def top_p_all_nan(**call: Any) -> Any:
    """Every logit is NaN."""
    return torch.full_like(call["logits"], float("nan"))
