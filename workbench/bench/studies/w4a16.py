"""A teacher in int4 against its own weights: acceptance and text; the product by shape and its traffic."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from workbench.bench.equality import first_difference
from workbench.bench.stats import Distribution
from workbench.bench.studies.lab import Lab
from workbench.bench.tables import Cell, Plot, Series, Study, Table
from workbench.kernels.kernel import Draw
from workbench.kernels.operators.quantised import call as product_call
from workbench.kernels.w4a16 import PARTS, data_parallel, product_traffic, split_k
from workbench.lockstep.choice.decoders import Decoded

ROWS: Final = 8
GROUP: Final = 128
SHAPES: Final = ((512, 4096), (1024, 2048), (2048, 1024), (4096, 512), (8192, 256), (2048, 2048))
"""K and N; all but the last hold as many weights, from wide to deep."""
ROUNDS: Final = 9


CANNOT_SAY: Final = (
    "The product on a CPU: every step runs after the other, with float32 sums by torch.",
    "It says nothing about vector and matrix cores that work at once, their number, or a device's cache.",
)


def measure(lab: Lab) -> Study:
    """Compare the texts of both teachers, then time the product."""
    text = (
        "Quality is what int4 costs: the text of the teacher in int4 against that of its own weights.",
        "A difference is no mistake of a kernel; mistakes are what specwb diff looks for.",
    )
    product = product_study()
    return replace(product, text=(*text, *product.text), tables=(*_quality(lab), *product.tables))


def product_study() -> Study:
    """Time the product by shape, beside what bytes alone say."""
    product = _products()
    names = tuple(str(row[0]) for row in product.rows)
    plots = tuple(
        Series(name, names, tuple(row[product.columns.index(column)] for row in product.rows))
        for name, column in (("split-K, measured", "split-K speedup"), ("model, through memory", "model"))
    )
    return Study(
        name="w4a16",
        title="Weights in int4",
        text=CANNOT_SAY,
        tables=(product,),
        plots=(Plot("bar", "int4 over half by shape", "K x N", "speedup", plots, level=1.0),),
    )


def _quality(lab: Lab) -> tuple[Table, ...]:
    """Decode every context with both teachers; nothing where there is only one."""
    session = lab.session
    if session.unquantised is None:
        return ()
    own = session.engine(lab.engine.settings, lab.choices.eager, pair=session.unquantised)
    int4, plain = session.speculative(lab.engine), session.speculative(own)
    pairs = [
        (int4(case.token_ids, session.max_new_tokens), plain(case.token_ids, session.max_new_tokens))
        for case in lab.cases()
    ]
    equal = [_equal_prefix(one, other) for one, other in pairs]
    rows: list[tuple[Cell, ...]] = [
        ("in int4", *_acceptance([one for one, _ in pairs])),
        ("own weights", *_acceptance([other for _, other in pairs])),
    ]
    same = sum(one.token_ids == other.token_ids for one, other in pairs)
    note = (
        f"{same} of {len(pairs)} texts are equal; of a text, {statistics.mean(equal):.1%} on average before "
        "the first difference"
        if pairs
        else "no context"
    )
    columns = ("teacher", "accept_L mean", "accept_L p90", "tokens")
    return (Table("Quality", columns, tuple(rows), note),)


def _acceptance(decoded: Sequence[Decoded]) -> tuple[Cell, ...]:
    accepted = Distribution.of(number for one in decoded for number in one.uncut)
    return accepted.mean, accepted.p90, sum(len(one.token_ids) for one in decoded)


def _equal_prefix(one: Decoded, other: Decoded) -> float:
    """Return the share of a text before the first difference."""
    place = first_difference(one.token_ids, other.token_ids)
    longest = max(len(one.token_ids), len(other.token_ids), 1)
    return 1.0 if place is None else place / longest


def _products() -> Table:
    """Time weights in half, both ways with int4, and what the traffic model says of each shape."""
    columns = (
        "K x N", "half ms", "data-parallel ms", "split-K ms", "split-K over data-parallel", "split-K speedup",
        "packed MB", "half written MB", "half re-read MB", "model", "model, workspace in cache",
    )  # fmt: skip
    rows = tuple(_product(inner, width) for inner, width in SHAPES)
    note = (
        f"M = {ROWS}, groups of {GROUP}, {PARTS} parts; processor time, medians of {ROUNDS} interleaved "
        "rounds. The model is speed-up by bytes alone: below 1, as the weight in half is written and re-read."
    )
    return Table("Product by shape", columns, rows, note)


def _product(inner: int, width: int) -> tuple[Cell, ...]:
    arguments = product_call(Draw(inner), ROWS, inner, width, dtype=torch.bfloat16, group=GROUP)
    x: Tensor = arguments["x"]
    weight = torch.zeros(inner, width, dtype=torch.bfloat16)
    calls: list[Callable[[], Any]] = [
        partial(torch.matmul, x, weight),
        partial(data_parallel, **arguments),
        partial(split_k, **arguments),
    ]
    half, across, along = _interleaved(calls)
    traffic = product_traffic(ROWS, inner, width, group=GROUP, parts=PARTS)
    return (
        f"{inner} x {width}", 1e3 * half, 1e3 * across, 1e3 * along, across / along, half / along,
        traffic.packed / 1e6, traffic.half_written / 1e6, traffic.half_read / 1e6, traffic.through_memory,
        traffic.in_cache,
    )  # fmt: skip


def _interleaved(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """Return median seconds of processor time of each call, called in turn."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(ROUNDS + 1):
        for times, function in zip(taken, calls, strict=True):
            start = time.process_time()
            function()
            if turn:  # the first round warms up
                times.append(time.process_time() - start)
    return [max(statistics.median(times), 1e-9) for times in taken]
