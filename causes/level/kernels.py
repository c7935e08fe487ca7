"""Mistakes of the level port in rotary, kernels and precision; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from causes.level.port import mistake


@mistake.bends("rotary", "rotate")
def neighbours_rotated(right: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Any:
    even, odd = heads[..., ::2], heads[..., 1::2]
    return heads * cos + torch.stack([-odd, even], dim=-1).flatten(-2) * sin


mistake.add(
    "rotary", "rotated-the-other-way", "rotate", lambda right, heads, cos, sin: right(heads, cos, -sin)
)
mistake.add(
    "rotary",
    "theta-of-another-model",
    "angles",
    lambda right, positions, theta, width: right(positions, theta * 50, width),
)
mistake.add(
    "rotary",
    "frequencies-over-twice-the-width",
    "angles",
    lambda right, positions, theta, width: right(positions, theta**0.5, width),
)
mistake.add("rotary", "drafter-not-rotated", "drafter_place", lambda right, *given: _unturned(right(*given)))


def _unturned(place: Any) -> Any:
    cos, sin = place.at
    return replace(place, at=(torch.ones_like(cos), torch.zeros_like(sin)))


mistake.add("kernel", "scale-left-out", "scale", lambda _, _query: 1.0)


@mistake("kernel")
def scale_of_the_hidden_width(port: Any) -> None:
    port.scale = lambda _query: port.pair.teacher.hidden_size**-0.5


@mistake.bends("kernel", "attention")
def wrong_kv_group(right: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Any:
    return right(query, key.flip(0), value.flip(0), bias)


@mistake("kernel")
def gate_and_up_exchanged(port: Any) -> None:
    for weights in (port.teacher, port.drafter):
        for name in [each for each in weights if "mlp.gate_proj" in each]:
            other = name.replace("gate", "up")
            weights[name], weights[other] = weights[other], weights[name]


mistake.add("kernel", "epsilon-too-large", "norm", lambda right, x, weight, eps: right(x, weight, 0.1))


@mistake("kernel")
def last_layer_without_mlp(port: Any) -> None:
    name = f"model.layers.{port.pair.teacher.num_layers - 1}.mlp.down_proj.weight"
    port.teacher = {**port.teacher, name: port.teacher[name] * 0}


@mistake("kernel")
def output_bias_forgotten(port: Any) -> None:
    port.teacher = {name: each for name, each in port.teacher.items() if not name.endswith("o_proj.bias")}


@mistake.bends("dtype", "attention")
def attention_in_bfloat16(right: Any, *given: Tensor) -> Any:
    return right(*(each.bfloat16().to(each.dtype) for each in given[:3]), given[3])


mistake.add(
    "dtype", "head-in-bfloat16", "head", lambda right, last: right(last).bfloat16().to(last.dtype) * 1.001
)


@mistake.bends("dtype", "angles")
def positions_in_bfloat16(right: Any, positions: Tensor, theta: float, width: int) -> Any:
    return right(positions.float().add(1000).bfloat16().float().sub(1000), theta, width)
