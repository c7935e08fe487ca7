"""Every group of rows times a matrix of its own, and the choice of one expert per group."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from workbench.kernels.kernel import Arguments, Draw, Exact, Kernel, Order, Trial, moved
from workbench.kernels.operators.forms import DTYPES, named, of_border, poked
from workbench.kernels.operators.gating import CLOSE
from workbench.npu.grouped_choice import grouped_choice

Span = tuple[int, int, int]


def groups_of(arguments: Arguments) -> list[Span]:
    """Return matrix, first row and end of each group that has rows."""
    listed = arguments["group_list"].tolist()
    ends = listed
    if arguments.get("group_list_type", 0) == 1:
        ends = [sum(listed[: at + 1]) for at in range(len(listed))]
    spans = zip(range(len(ends)), [0, *ends], ends, strict=False)
    return [(expert, start, end) for expert, start, end in spans if end > start]


def truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return the exact products."""
    (x,), (weight,) = arguments["x"], arguments["weight"]
    value = torch.zeros(len(x), weight.shape[2], dtype=torch.float64, device=x.device)
    spread = torch.zeros_like(value)
    for expert, start, end in groups_of(arguments):
        rows, matrix = x[start:end].double(), weight[expert].double()
        value[start:end] = rows @ matrix
        spread[start:end] = (rows.square() @ matrix.square()).sqrt()
    return (Exact(value, x.dtype, spread=spread, terms=x.shape[1]),)


def reference(arguments: Arguments, order: Order) -> tuple[Tensor, ...]:
    """Return the products with float32 sums, rounded once."""
    (x,), (weight,) = arguments["x"], arguments["weight"]
    shuffled = order.of(x.shape[1])
    value = torch.zeros(len(x), weight.shape[2], dtype=torch.float32, device=x.device)
    for expert, start, end in groups_of(arguments):
        value[start:end] = x[start:end, shuffled].float() @ weight[expert, shuffled].float()
    return (value.to(x.dtype),)


def call(
    draw: Draw,
    counts: tuple[int, ...],
    inner: int,
    columns: int,
    *,
    dtype: torch.dtype = torch.bfloat16,
    transposed: bool = False,
    ends: bool = False,
) -> Arguments:
    """Return rows of about unit size and matrices that keep it."""
    shape = (len(counts), columns, inner) if transposed else (len(counts), inner, columns)
    weight = draw.normal(*shape, dtype=dtype, scale=inner**-0.5)
    listed = torch.tensor(counts)
    return {
        "x": [draw.normal(sum(counts), inner, dtype=dtype)],
        "weight": [weight.transpose(1, 2) if transposed else weight],
        "group_list": listed.cumsum(0) if ends else listed,
        "split_item": 2,
        "group_type": 0,
        "group_list_type": 0 if ends else 1,
    }


def with_value(draw: Draw, value: float) -> Arguments:
    """Return products with a value in the last row."""
    made = call(draw, (2, 0, 3), 48, 24)
    poked(made["x"][0], value)
    return made


def cases() -> Iterator[Trial]:
    """Yield the cases of the product."""
    for dtype in DTYPES:
        build = partial(call, counts=(3, 5, 1, 7), inner=256, columns=64, dtype=dtype)
        yield Trial(f"static-{named(dtype)}", build)
    for inner in (8, 72, 520, 2056):
        build = partial(call, counts=(2, 1), inner=inner, columns=24, dtype=torch.float32)
        yield Trial(f"inner-{inner}", build, "tile", "dynamic")
    for rows in (1, 15, 17, 33):
        yield Trial(f"rows-{rows}", partial(call, counts=(rows, 2), inner=64, columns=40), "tile", "dynamic")
    sparse = (0, 4, 0, 0, 1, 0, 3, 0)
    yield Trial("groups-without-rows", partial(call, counts=sparse, inner=64, columns=32), form="dynamic")
    yield Trial("ends", partial(call, counts=sparse, inner=64, columns=32, ends=True), form="dynamic")
    yield Trial(
        "transposed", partial(call, counts=sparse, inner=64, columns=32, transposed=True), form="dynamic"
    )
    yield Trial("no-rows", partial(call, counts=(0, 0, 0), inner=64, columns=32), "empty", "dynamic")
    yield Trial("nan", partial(with_value, value=float("nan")), "nan", "dynamic")
    yield Trial("inf", partial(with_value, value=float("inf")), "inf", "dynamic")


def chosen(arguments: Arguments, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return experts, weights, and which choices are open, `[T, groups]`."""
    logits, groups = arguments["logits"], arguments["num_groups"]
    exact = logits.to(dtype)
    raised = torch.exp(exact - exact.amax(-1, keepdim=True))
    scores, size = raised / raised.sum(-1, keepdim=True), logits.shape[1] // groups
    ids, weights, is_open = [], [], []
    for first in range(0, logits.shape[1], size):
        group, given = scores[:, first : first + size], logits[:, first : first + size]
        order = group.sort(dim=-1, descending=True, stable=True).indices
        best, second = order[:, :1], order[:, min(1, size - 1)][:, None]
        near = group.gather(1, best) - group.gather(1, second) <= CLOSE * group.gather(1, best)
        ids.append(first + best)
        weights.append(group.gather(1, best))
        is_open.append(near & (given.gather(1, best) != given.gather(1, second)))
    experts = torch.cat(ids, 1)
    return (
        experts,
        torch.cat(weights, 1) * arguments["router_scale"].to(dtype)[experts],
        torch.cat(is_open, 1),
    )


def choice_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return exact experts and weights."""
    experts, weights, is_open = chosen(arguments, torch.float64)
    return moved(experts, is_open), Exact(
        weights, torch.float32, terms=arguments["logits"].shape[1], free=is_open
    )


def choice_reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return experts and weights with float32 scores."""
    return chosen(arguments, torch.float32)[:2]


def choice_call(
    draw: Draw,
    rows: int,
    experts: int,
    groups: int,
    *,
    dtype: torch.dtype = torch.bfloat16,
    scale: float = 1.0,
) -> Arguments:
    """Return logits and scales about 1."""
    return {
        "logits": draw.normal(rows, experts, dtype=dtype, scale=scale),
        "router_scale": (1 + 0.3 * draw.normal(experts)).to(dtype),
        "num_groups": groups,
    }


def tied_choice(draw: Draw, rows: int, experts: int, groups: int) -> Arguments:
    """Return logits of a few values: most groups are tied, and the first is to be taken."""
    return choice_call(draw, rows, experts, groups) | {"logits": draw.integers(0, 2, rows, experts).float()}


def choice_cases() -> Iterator[Trial]:
    """Yield the cases of the choice."""
    for dtype in DTYPES:
        yield Trial(
            f"static-{named(dtype)}", partial(choice_call, rows=24, experts=64, groups=8, dtype=dtype)
        )
    for experts, groups in ((8, 8), (6, 1), (130, 2), (33, 11)):
        build = partial(choice_call, rows=5, experts=experts, groups=groups)
        yield Trial(f"experts-{experts}-{groups}", build, "tile", "dynamic")
    yield Trial("ties", partial(tied_choice, rows=12, experts=64, groups=8), "ties", "dynamic")
    steep = partial(choice_call, rows=6, experts=64, groups=8, scale=8.0, dtype=torch.float32)
    yield Trial("steep", steep, "large", "dynamic")
    yield Trial("no-rows", partial(choice_call, rows=0, experts=64, groups=8), "empty", "dynamic")


grouped_matmul = of_border(
    "npu::npu_grouped_matmul",
    level=3,
    about="each group of rows times its own matrix",
    rule="basic_matmul",
    truth=truth,
    reference=reference,
    heavy=partial(call, counts=(16,) * 16, inner=1024, columns=512),
    cases=cases(),
    operations=lambda arguments: 2 * int(arguments["x"][0].numel()) * int(arguments["weight"][0].shape[2]),
)
moge_choice = Kernel(
    name="moge_choice",
    level=3,
    about="the best expert of each group by the softmax over all, scaled",
    rule="default",
    truth=choice_truth,
    reference=choice_reference,
    own=grouped_choice,
    heavy=partial(choice_call, rows=512, experts=64, groups=8),
    cases=tuple(choice_cases()),
    operations=lambda arguments: 6 * int(arguments["logits"].numel()),
)
