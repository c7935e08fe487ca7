"""An error in what one operator gives at one call: a row, a head, an element, or all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from tracing.models import ModelPair
from tracing.stages import DecodePath
from workbench.faults.placement import Placement, on_path
from workbench.fused.linear import Linear
from workbench.npu import dispatch

OPERATORS: Final = {
    "norm": "npu_rms_norm",
    "rotary": "npu_rotary_mul",
    "attention": "npu_fused_infer_attention_score",
    "swiglu": "npu_swiglu",
}
"""Operator of the list of tensors to the device's; `linear` is a product of the path's own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an error is.

    Attributes:
        stage: `prefill`, `draft` or `verify`.
        name: Tensor that it is in, as `tracing.intermediates` lists it, with its network and site.
        operator: What gives that tensor.
        call: Which call of this operator in the stage, from 0.
        first, width: Part of the last axis, or of the heads, that is this tensor; None for all of it.
        forward: Forward within the stage.
        row: Row of the call's output, negative from the end; None for every row.
        head, element: Within a row; None for all.
        size: Of the error, in units of the row's root mean square; times ulp where it is `noise`.
        noise: The error is one unit in the last place here and there, as another order of sums makes it.
    """

    stage: str
    name: str
    operator: str
    call: int
    first: int = 0
    width: int | None = None
    forward: int = 0
    row: int | None = None
    head: int | None = None
    element: int | None = None
    size: float = 0.25
    noise: bool = False

    @property
    def has_heads(self) -> bool:
        """Whether its rows are heads of lanes where the operator gives them."""
        return self.operator in ("rotary", "attention")


def placed(*places: Place) -> Placement:
    """Return the errors ready for one run."""

    def change(path: DecodePath) -> DecodePath:
        stages = {
            stage: _spoiled(getattr(path.stages, stage), own) for stage, own in _by_stage(places).items()
        }
        return replace(path, stages=replace(path.stages, **stages))

    return on_path(change)


def _by_stage(places: tuple[Place, ...]) -> dict[str, list[Place]]:
    return {
        stage: [each for each in places if each.stage == stage] for stage in {each.stage for each in places}
    }


def _spoiled(run: Callable[..., Any], places: list[Place]) -> Callable[..., Any]:
    def faulty(*given: Any) -> Any:
        with _all_wrong(places):
            return run(*given)

    return faulty


@contextmanager
def _all_wrong(places: list[Place]) -> Iterator[None]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        for operator in {each.operator for each in places}:
            stack.enter_context(_wrong(operator, [each for each in places if each.operator == operator]))
        yield


def _wrong(operator: str, places: list[Place]) -> AbstractContextManager[None]:
    count = iter(range(10**9))

    def spoiled(function: Callable[..., Any], *given: Any, **options: Any) -> Any:
        output, call = function(*given, **options), next(count)
        for place in places:
            if place.call == call:
                output = (
                    (_with_error(output[0], place), *output[1:])
                    if isinstance(output, (tuple, list))
                    else _with_error(output, place)
                )
        return output

    if operator == "linear":
        return _in_products(spoiled)
    return dispatch.wrapped(OPERATORS[operator], lambda function: partial(spoiled, function))


@contextmanager
def _in_products(spoiled: Callable[..., Any]) -> Iterator[None]:
    original = Linear.__call__

    def faulty(self: Linear, rows: Tensor) -> Tensor:
        made: Tensor = spoiled(original, self, rows)
        return made

    Linear.__call__ = faulty  # type: ignore[method-assign]  # restored below
    try:
        yield
    finally:
        Linear.__call__ = original  # type: ignore[method-assign]  # as above


def _with_error(output: Tensor, place: Place) -> Tensor:
    made = output.clone()
    rows = made[0] if made.dim() > 2 else made
    part = rows.narrow(1, place.first, rows.shape[1] - place.first if place.width is None else place.width)
    if place.noise:
        signs = torch.randint(-1, 2, part.shape, generator=torch.Generator().manual_seed(place.call))
        part.mul_(1 + signs.to(part.dtype) * torch.finfo(part.dtype).eps)
        return made
    if place.row is not None:
        row = place.row % len(part) if place.row >= 0 else place.row
        part = part[row][None]
    if place.has_heads and place.head is not None:
        part = part[:, place.head : place.head + 1]
    size = place.size * part.float().square().mean().sqrt().to(part.dtype)
    if place.element is not None:
        part = part[..., place.element : place.element + 1]
    part += size
    return made


def teacher_places(pair: ModelPair, stage: str) -> list[Place]:
    """Return each tensor that an operator gives in a forward of the teacher, wrong in every row."""
    config, places = pair.teacher, []
    heads, kv_heads, dim = config.num_heads, config.num_kv_heads, config.head_dim
    for layer in range(config.num_layers):
        at = partial(_at, stage, f"teacher.layers.{layer}")
        places += [
            at("input_norm", "norm", 2 * layer),
            at("query_proj", "linear", 4 * layer, 0, heads * dim),
            at("key_proj", "linear", 4 * layer, heads * dim, kv_heads * dim),
            at("value", "linear", 4 * layer, (heads + kv_heads) * dim, kv_heads * dim),
            at("query", "rotary", layer, 0, heads),
            at("key", "rotary", layer, heads, kv_heads),
            at("attention", "attention", layer),
            at("attention_output", "linear", 4 * layer + 1),
            at("mlp_norm", "norm", 2 * layer + 1),
            at("gate", "linear", 4 * layer + 2, 0, config.intermediate_size),
            at("up", "linear", 4 * layer + 2, config.intermediate_size, config.intermediate_size),
            at("activated", "swiglu", layer),
            at("mlp_output", "linear", 4 * layer + 3),
        ]
    end = partial(_at, stage, "teacher")
    layers = config.num_layers
    return [*places, end("final_norm", "norm", 2 * layers), end("logits", "linear", 4 * layers)]


def drafter_places(pair: ModelPair, forward: int) -> list[Place]:
    """Return each tensor that an operator gives in a forward of an EAGLE-3 drafter, wrong in every row."""
    config = pair.drafter
    heads, kv_heads, dim = config.num_heads, config.num_kv_heads, config.head_dim
    linear = 1 if forward == 0 else 1 + 5 * forward
    norm = 4 * forward
    at = partial(_at, "draft", "drafter.midlayer", forward=forward)
    end = partial(_at, "draft", "drafter", forward=forward)
    return [
        *([end("hidden_in", "linear", 0)] if forward == 0 else []),
        end("embedding_norm", "norm", norm),
        end("hidden_norm", "norm", norm + 1),
        at("query_proj", "linear", linear, 0, heads * dim),
        at("key_proj", "linear", linear, heads * dim, kv_heads * dim),
        at("value", "linear", linear, (heads + kv_heads) * dim, kv_heads * dim),
        at("query", "rotary", forward, 0, heads),
        at("key", "rotary", forward, heads, kv_heads),
        at("attention", "attention", forward),
        at("attention_output", "linear", linear + 1),
        at("mlp_norm", "norm", norm + 2),
        at("gate", "linear", linear + 2, 0, config.intermediate_size),
        at("up", "linear", linear + 2, config.intermediate_size, config.intermediate_size),
        at("activated", "swiglu", forward),
        at("mlp_output", "linear", linear + 3),
        end("final_norm", "norm", norm + 3),
        end("logits", "linear", linear + 4),
    ]


def _at(stage: str, site: str, name: str, operator: str, *numbers: int, forward: int = 0) -> Place:
    """Return a place; `numbers` are the call, and first and width of a part of its output."""
    call, *part = numbers
    first, width = part or (0, None)
    return Place(stage, f"{site}.{name}", operator, call, first or 0, width, forward)
