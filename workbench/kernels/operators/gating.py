"""Choosing experts, and masking logits by rank and mass: choices are equal but where the true gap is tiny."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.kernel import Arguments, Draw, Exact, Order, Trial, moved
from workbench.kernels.operators.forms import DTYPES, named, of_border

CLOSE = 2.0**-19
"""Relative gap of two scores of unequal logits below which float32 may order them either way."""


def ranked(scores: Tensor, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return places [T, count] of the largest, of equals the lower one, and which of them are open.

    Equal logits have equal scores in any arithmetic; unequal ones that are close may come out either way.
    """
    order = scores.sort(dim=-1, descending=True, stable=True).indices
    ordered, given = scores.gather(-1, order), logits.gather(-1, order)
    near = (ordered[..., :-1] - ordered[..., 1:]).abs() <= CLOSE * ordered[..., :-1].abs()
    near &= (given[..., :-1] != given[..., 1:]) & ordered[..., 1:].isfinite()
    none = torch.zeros_like(near[..., :1])
    is_open = torch.cat((near, none), -1) | torch.cat((none, near), -1)
    return order[..., :count], is_open[..., :count]


def grouped_scores(scores: Tensor, k_group: int, groups: int, mode: int) -> Tensor:
    """Return the scores with -inf outside the best groups; a group's score is its best or its best two."""
    table = scores.view(len(scores), groups, -1)
    strength = table.sort(-1, descending=True).values[..., : 1 + mode].sum(-1)
    kept = strength.sort(dim=-1, descending=True, stable=True).indices[:, :k_group]
    is_kept = (kept[..., None] == torch.arange(groups, device=scores.device)).any(-2)
    return torch.where(is_kept[..., None], table, -math.inf).view_as(scores)


def gating(arguments: Arguments, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return weights, experts, which are open, and scores, in a dtype."""
    x, bias = arguments["x"], arguments.get("bias")
    logits = x.to(dtype)
    sigmoid = arguments.get("norm_type", 0) == 1
    scores = torch.sigmoid(logits) if sigmoid else torch.softmax(logits, -1)
    selected = scores if bias is None else scores + bias.to(dtype)
    groups = arguments.get("group_count", 1)
    if groups > 1:
        mode = arguments.get("group_select_mode", 0)
        selected = grouped_scores(selected, arguments.get("k_group", 1), groups, mode)
    keys = x if bias is None else torch.arange(x.shape[1], device=x.device).expand_as(x)
    experts, is_open = ranked(selected, keys, arguments["k"])
    weights = scores.gather(-1, experts)
    if sigmoid:
        weights = weights / (weights.sum(-1, keepdim=True) + arguments.get("eps", 1e-20))
    return weights * arguments.get("routed_scaling_factor", 1.0), experts, is_open, scores


def truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return exact weights, experts and scores; scores are promised only where `out_flag` asks for them."""
    weights, experts, is_open, scores = gating(arguments, torch.float64)
    dtype, count = arguments["x"].dtype, scores.shape[1]
    free = torch.full_like(scores, not arguments.get("out_flag", False), dtype=torch.bool)
    return (
        Exact(weights, dtype, terms=count, free=is_open),
        moved(experts.int(), is_open),
        Exact(scores, torch.float32, terms=count, free=free),
    )


def reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return weights, experts and scores of plain torch, scores in float32."""
    weights, experts, _open, scores = gating(arguments, torch.float32)
    return weights.to(arguments["x"].dtype), experts.int(), scores


def softmax_gating(arguments: Arguments, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return weights, experts, which are open, and row numbers."""
    x, k = arguments["x"], arguments["k"]
    scores = torch.softmax(x.to(dtype), -1)
    experts, is_open = ranked(scores, x, k)
    weights = scores.gather(-1, experts)
    finished = arguments.get("finished")
    if finished is not None:
        experts = torch.where(finished[..., None], x.shape[-1], experts)
        is_open = is_open & ~finished[..., None]
    rows = math.prod(x.shape[:-1])
    listed = [[choice * rows + row for choice in range(k)] for row in range(rows)]
    numbers = torch.tensor(listed, device=x.device)
    return weights, experts, is_open, numbers.view(experts.shape).int()


def softmax_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return exact weights, experts and row numbers."""
    weights, experts, is_open, numbers = softmax_gating(arguments, torch.float64)
    x = arguments["x"]
    return (
        Exact(weights, x.dtype, terms=x.shape[-1], free=is_open),
        moved(experts.int(), is_open),
        moved(numbers),
    )


def softmax_reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return weights, experts and row numbers of plain torch."""
    weights, experts, _open, numbers = softmax_gating(arguments, torch.float32)
    return weights.to(arguments["x"].dtype), experts.int(), numbers


def gating_call(
    draw: Draw, tokens: int, experts: int, k: int, *, dtype: torch.dtype = torch.float32, **options: Any
) -> Arguments:
    """Return logits of about unit size."""
    return {"x": draw.normal(tokens, experts, dtype=dtype), "k": k, **options}


def tied_call(draw: Draw, tokens: int, experts: int, k: int, **options: Any) -> Arguments:
    """Return logits of a few values, so that most choices are ties."""
    return {"x": draw.integers(0, 3, tokens, experts).float(), "k": k, **options}


def biased_call(draw: Draw, tokens: int, experts: int, k: int, **options: Any) -> Arguments:
    """Return logits with a bias that moves the choice and not the weights."""
    return gating_call(draw, tokens, experts, k, **options) | {"bias": draw.normal(experts, scale=0.5)}


def finished_call(draw: Draw) -> Arguments:
    """Return rows some of which are finished."""
    return gating_call(draw, 9, 24, 3) | {"finished": draw.integers(0, 2, 9).bool()}


def cases() -> Iterator[Trial]:
    """Yield the cases with groups."""
    grouped: dict[str, Any] = {"group_count": 8, "k_group": 3}
    for dtype in DTYPES:
        build = partial(gating_call, tokens=24, experts=64, k=6, dtype=dtype, **grouped)
        yield Trial(f"static-{named(dtype)}", build)
    for experts, groups in ((9, 3), (66, 6), (255, 5)):
        build = partial(gating_call, tokens=5, experts=experts, k=3, group_count=groups, k_group=2)
        yield Trial(f"experts-{experts}", build, "tile", "dynamic")
    yield Trial("one-group", partial(gating_call, tokens=6, experts=40, k=8, out_flag=True), form="dynamic")
    sigmoid: dict[str, Any] = {"norm_type": 1, "routed_scaling_factor": 2.5}
    best_two = partial(gating_call, tokens=6, experts=64, k=6, group_select_mode=1, **grouped, **sigmoid)
    yield Trial("sigmoid-best-two", best_two, form="dynamic")
    yield Trial("bias", partial(biased_call, tokens=6, experts=64, k=4, **grouped), form="dynamic")
    yield Trial("ties", partial(tied_call, tokens=12, experts=64, k=6, **grouped), "ties", "dynamic")
    yield Trial("all-equal", lambda _: {"x": torch.zeros(3, 16), "k": 5}, "ties", "dynamic")
    yield Trial("large", lambda draw: {"x": draw.normal(4, 24, scale=30.0), "k": 2}, "large", "dynamic")


def softmax_cases() -> Iterator[Trial]:
    """Yield the cases without groups."""
    for dtype in DTYPES:
        yield Trial(f"static-{named(dtype)}", partial(gating_call, tokens=24, experts=64, k=6, dtype=dtype))
    for experts in (1, 31, 33, 257):
        build = partial(gating_call, tokens=7, experts=experts, k=1 if experts == 1 else 3)
        yield Trial(f"experts-{experts}", build, "tile", "dynamic")
    yield Trial("three-axes", lambda draw: {"x": draw.normal(2, 5, 24), "k": 4}, form="dynamic")
    yield Trial("finished", finished_call, form="dynamic")
    yield Trial("ties", partial(tied_call, tokens=12, experts=32, k=6), "ties", "dynamic")


_route = partial(
    of_border, level=3, rule="default", operations=lambda arguments: 6 * int(arguments["x"].numel())
)
moe_gating = _route(
    "npu::npu_moe_gating_top_k",
    about="experts of each token, whole groups first",
    truth=truth,
    reference=reference,
    heavy=partial(gating_call, tokens=512, experts=64, k=8, group_count=8, k_group=4),
    cases=cases(),
)
moe_gating_softmax = _route(
    "npu::npu_moe_gating_top_k_softmax",
    about="the k largest of a softmax, with row numbers",
    truth=softmax_truth,
    reference=softmax_reference,
    heavy=partial(gating_call, tokens=512, experts=64, k=8),
    cases=softmax_cases(),
)
