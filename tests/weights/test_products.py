"""Split-K and data-parallel products against float64, and the traffic model.

Which bugs these catch: a part that is left out, a group that a part cuts, partial sums in half.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workbench.kernels.call import call, judge_call
from workbench.kernels.kernel import Draw
from workbench.kernels.operators import KERNELS
from workbench.kernels.w4a16 import QuantisedCall, data_parallel, product_traffic, split_k
from workbench.weights.int4 import pack

DATA = json.loads((Path(__file__).parents[1] / "data" / "w4a16.json").read_text())
KERNEL = KERNELS["npu_weight_quant_batchmatmul"]


@pytest.mark.parametrize("candidate", [data_parallel, split_k], ids=lambda each: each.__name__)
def test_the_judge_passes_both_on_every_case(candidate: Any) -> None:
    for case in KERNEL.cases:
        result = judge_call(KERNEL, case, 0, call(KERNEL, candidate, case.build(Draw(0))))
        assert result.passed, (case.name, result.judged.refusals)


@cache
def recorded(inner: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The inputs of the recorded sums, made again: x, words, scale, and the weight multiplied out."""
    random = np.random.RandomState(inner)  # the recorded recipe
    x = random.standard_normal((4, inner)).astype(np.float16)
    weight = random.randint(-8, 8, (inner, 16))
    scale = (np.abs(random.standard_normal((inner // 128, 16))) * 0.01 + 0.002).astype(np.float16)
    plain = (weight * np.repeat(scale, 128, 0).astype(np.float64)).astype(np.float16)
    return tuple(torch.from_numpy(each) for each in (x, pack(weight), scale, plain))  # type: ignore[return-value]  # four


def sum_bound(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """How far one float32 accumulator can be off: K u / (1 - K u) times the sum of magnitudes."""
    share = x.shape[1] * 2.0**-24
    return share / (1 - share) * (x.double().abs() @ weight.double().abs())


@pytest.mark.parametrize("case", DATA["splitk"], ids=lambda case: str(case["k"]))
def test_partial_sums_in_float32_are_as_good_as_recorded(case: dict[str, Any]) -> None:
    """After rounding to float16 the error is that of the rounding, whatever K and the number of parts."""
    x, words, scale, plain = recorded(case["k"])
    exact = x.double() @ plain.double()
    assert float(exact.abs().max()) == pytest.approx(case["max_abs_ref"], rel=1e-9)
    given = {"x": x, "weight": words, "antiquant_scale": scale, "antiquant_group_size": 128}
    taken = QuantisedCall.of(given)
    for parts, recorded_errors in case["splits"].items():
        sums = taken.summed(int(parts))
        error = (sums.double() - exact).abs()
        assert bool((error <= sum_bound(x, plain)).all())
        assert float(error.max()) < 8 * recorded_errors["fp32_max_abs_err"] + 1e-6
        rounded = ((sums.half().double() - exact).abs() / exact.abs().clamp_min(1)).max()
        assert float(rounded) == pytest.approx(recorded_errors["fp16_out_max_err_over_max1ref"], rel=0.02)


def test_traffic_says_why_the_gain_stops() -> None:
    """The weight in half is written and read again: 4.5 bytes for each weight against 2."""
    traffic = product_traffic(1, 4096, 4096, group=128)
    weights = 4096 * 4096
    assert (traffic.half_written, traffic.half_read, traffic.partials) == (2 * weights, 2 * weights, 0)
    assert traffic.packed == weights // 2 + 2 * 32 * 4096
    assert traffic.through_memory == pytest.approx(2 / 4.5, rel=0.01)
    assert traffic.in_cache == pytest.approx(4, rel=0.05)
    assert product_traffic(8, 64, 32, group=0, parts=4).partials == 2 * 4 * 4 * 8 * 32
