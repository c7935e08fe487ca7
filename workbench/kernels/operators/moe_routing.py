"""Rows to their experts and back: what is sorted and counted has to be equal bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.kernel import Arguments, Draw, Exact, Order, Trial, moved
from workbench.kernels.operators.forms import DTYPES, named, of_border, poking


def sorted_places(arguments: Arguments) -> tuple[list[int], list[int]]:
    """Return which choice lies at each place, of active experts only, and the rows of each active expert."""
    first, end = arguments["active_expert_range"]
    flat = arguments["expert_idx"].flatten().tolist()
    by_expert = [[at for at, one in enumerate(flat) if one == expert] for expert in range(first, end)]
    return [at for places in by_expert for at in places], [len(places) for places in by_expert]


def routing_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return rows, places and counts; what lies behind the active ones is promised nothing of."""
    x, choices = arguments["x"], arguments["expert_idx"].shape[1]
    places, counts = sorted_places(arguments)
    total, active = arguments["expert_idx"].numel(), len(places)
    rows = torch.zeros(total, x.shape[1], dtype=x.dtype, device=x.device)
    for place, choice in enumerate(places):
        rows[place] = x[choice // choices]
    behind = torch.arange(total, device=x.device) >= active
    index = torch.full((total,), -1, dtype=torch.int32, device=x.device)
    scatters = arguments.get("row_idx_type", 0) == 1
    for place, choice in enumerate(places):
        index[place if scatters else choice] = choice if scatters else place
    tally = torch.tensor(counts, device=x.device)
    if arguments["expert_tokens_num_type"] == 2:
        first = arguments["active_expert_range"][0]
        pairs = [[first + expert, count] for expert, count in enumerate(counts) if count]
        rest = arguments["expert_num"] - len(pairs)
        tally = torch.tensor(pairs + [[0, 0]] * rest, device=x.device)
        unsaid = (torch.arange(len(tally), device=x.device) >= len(pairs))[:, None].expand_as(tally)
    else:
        unsaid = torch.zeros_like(tally, dtype=torch.bool)
    return (
        moved(rows, behind[:, None].expand_as(rows)),
        moved(index, behind if scatters else None),
        moved(tally, unsaid),
    )


def routing_reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return the same: nothing is rounded."""
    return tuple(one.value for one in routing_truth(arguments))


def routing_call(
    draw: Draw,
    rows: int,
    width: int,
    choices: int,
    experts: int,
    *,
    dtype: torch.dtype = torch.bfloat16,
    span: tuple[int, int] | None = None,
    **options: Any,
) -> Arguments:
    """Return rows with experts drawn, one of each of `choices` groups."""
    size = experts // choices
    ids = draw.integers(0, size, rows, choices) + torch.arange(choices) * size
    return {
        "x": draw.normal(rows, width, dtype=dtype),
        "expert_idx": ids.int(),
        "active_num": rows * choices,
        "expert_num": experts,
        "expert_tokens_num_type": 1,
        "expert_tokens_num_flag": True,
        "active_expert_range": list(span or (0, experts)),
        **options,
    }


def one_expert(draw: Draw) -> Arguments:
    """Return rows that all go to the same expert of each group."""
    made = routing_call(draw, 9, 16, 2, 8)
    return made | {"expert_idx": torch.tensor([[3, 7]] * 9, dtype=torch.int32)}


def routing_cases() -> Iterator[Trial]:
    """Yield the cases of the sorting."""
    for dtype in (*DTYPES, torch.int8):
        name = "int8" if dtype is torch.int8 else named(dtype)
        yield Trial(
            f"static-{name}", partial(routing_call, rows=24, width=64, choices=8, experts=64, dtype=dtype)
        )
    for rows in (1, 15, 17, 65):
        build = partial(routing_call, rows=rows, width=32, choices=8, experts=64)
        yield Trial(f"rows-{rows}", build, "tile", "dynamic")
    local = partial(routing_call, rows=12, width=32, choices=8, experts=64, span=(16, 32))
    yield Trial("experts-of-a-rank", local, form="dynamic")
    yield Trial("rank-scatter", partial(local, row_idx_type=1), form="dynamic")
    yield Trial("pairs", partial(local, expert_tokens_num_type=2), form="dynamic")
    yield Trial("one-expert", one_expert, "ties", "dynamic")
    yield Trial("no-rows", partial(routing_call, rows=0, width=32, choices=8, experts=64), "empty", "dynamic")


def joined(arguments: Arguments, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return what experts gave and its weights, terms in order `[T, K + skips, H]`, in a dtype."""
    scales, mode = arguments["scales"], arguments.get("drop_pad_mode", 0)
    rows, choices = scales.shape
    given = arguments["expanded_permuted_rows"].flatten(0, -2).to(dtype)
    places, bias = arguments["expanded_src_to_dst_row"].long(), arguments["bias"]
    places = places.view(rows, choices) if mode in {2, 3} else places.view(choices, rows).t()
    own = given[places.clamp(min=0)]
    if bias is not None:
        own = own + bias.to(dtype)[arguments["export_for_source_row"].long()]
    own = torch.where((places < 0)[..., None], 0.0, own)
    terms, weights = [own], [scales.to(dtype)]
    for name in ("skip1", "skip2"):
        if arguments[name] is not None:
            terms.append(arguments[name].to(dtype)[:, None])
            weights.append(torch.ones(rows, 1, dtype=dtype, device=scales.device))
    return torch.cat(terms, 1), torch.cat(weights, 1)[..., None]


def finalize_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return the exact sums."""
    terms, weights = joined(arguments, torch.float64)
    parts = terms * weights
    dtype = arguments["expanded_permuted_rows"].dtype
    return (Exact(parts.sum(1), dtype, spread=parts.square().sum(1).sqrt(), terms=parts.shape[1]),)


def finalize_reference(arguments: Arguments, order: Order) -> tuple[Tensor, ...]:
    """Return sums in float32, rounded once."""
    terms, weights = joined(arguments, torch.float32)
    shuffled = order.of(terms.shape[1])
    parts = (terms * weights)[:, shuffled]
    return (parts.sum(1).to(arguments["expanded_permuted_rows"].dtype),)


def finalize_call(
    draw: Draw,
    rows: int,
    width: int,
    choices: int,
    *,
    dtype: torch.dtype = torch.bfloat16,
    mode: int = 2,
    experts: int = 16,
    bias: bool = False,
    skips: int = 0,
) -> Arguments:
    """Return what experts gave, and weights between 0 and 1; with dropping, one row in five is dropped."""
    total, capacity = rows * choices, -(-rows * choices // experts) + 1
    shape = (experts, capacity, width) if mode % 2 else (total, width)
    places = draw.permutation(experts * capacity if mode % 2 else total)[:total]
    if mode % 2:
        places[::5] = -1
    return {
        "expanded_permuted_rows": draw.normal(*shape, dtype=dtype),
        "skip1": draw.normal(rows, width, dtype=dtype) if skips else None,
        "skip2": draw.normal(rows, width, dtype=dtype) if skips > 1 else None,
        "bias": draw.normal(experts, width, dtype=dtype) if bias else None,
        "scales": torch.sigmoid(draw.normal(rows, choices)).to(dtype),
        "expanded_src_to_dst_row": places.int(),
        "export_for_source_row": draw.integers(0, experts, rows, choices, dtype=torch.int32),
        "drop_pad_mode": mode,
    }


def finalize_cases() -> Iterator[Trial]:
    """Yield the cases of the sum."""
    for dtype in DTYPES:
        yield Trial(
            f"static-{named(dtype)}", partial(finalize_call, rows=24, width=64, choices=8, dtype=dtype)
        )
    for mode in (0, 1, 3):
        build = partial(finalize_call, rows=7, width=40, choices=4, mode=mode, bias=True)
        yield Trial(f"mode-{mode}", build, form="dynamic")
    for width in (8, 56, 264):
        build = partial(finalize_call, rows=5, width=width, choices=3)
        yield Trial(f"width-{width}", build, "tile", "dynamic")
    both = partial(finalize_call, rows=5, width=48, choices=8, skips=2, bias=True, dtype=torch.float32)
    yield Trial("skips-and-bias", both, form="dynamic")
    yield Trial("one-choice", partial(finalize_call, rows=9, width=16, choices=1), form="dynamic")
    odd = partial(poking, finalize_call, "expanded_permuted_rows", rows=6, width=24, choices=4)
    yield Trial("nan", odd(float("nan")), "nan", "dynamic")
    yield Trial("inf", odd(float("inf")), "inf", "dynamic")


init_routing = of_border(
    "npu::npu_moe_init_routing_v2",
    level=1,
    about="rows sorted by expert, with counts",
    rule="default",
    truth=routing_truth,
    reference=routing_reference,
    heavy=partial(routing_call, rows=256, width=1024, choices=8, experts=64),
    cases=routing_cases(),
    also_returns=1,
)
finalize_routing = of_border(
    "npu::npu_moe_finalize_routing",
    level=2,
    about="what the experts of each row gave, weighed and added",
    rule="default",
    truth=finalize_truth,
    reference=finalize_reference,
    heavy=partial(finalize_call, rows=256, width=1024, choices=8),
    cases=finalize_cases(),
    operations=lambda arguments: 2 * int(arguments["expanded_permuted_rows"].numel()),
)
