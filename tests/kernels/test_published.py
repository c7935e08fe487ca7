"""The public benchmark's rules give the verdicts and differences that its own code gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tracing.errors import UsageError
from workbench.kernels.judge.published import RULES, verdict

GOLDEN = json.loads((Path(__file__).parents[1] / "data/npukernelbench.json").read_text())["cases"]


def output(data: Any) -> Any:
    if isinstance(data, list):
        return [output(one) for one in data]
    numbers = [float(one) if isinstance(one, str) else one for one in data["data"]]
    return torch.tensor(numbers, dtype=getattr(torch, data["dtype"])).view(data["shape"])


@pytest.mark.parametrize("case", GOLDEN, ids=[case["tag"] for case in GOLDEN])
def test_verdicts_and_differences_are_those_of_the_benchmark(case: dict[str, Any]) -> None:
    said = verdict(case["judge"], output(case["ref"]), output(case["new"]), case["param"])
    assert said.passed == bool(case["verdict"])
    assert not said.raises
    assert str(said.max_abs) == str(float(case["max_abs"]))
    assert str(said.max_rel) == str(float(case["max_rel"]))


@pytest.mark.parametrize(
    ("rule", "parameters", "expected", "came", "passes"),
    [
        ("norm_family", {"dtype": "bfloat16"}, [1.0], [1.0 + 2**-7], False),  # one bfloat16 step
        ("foreach_int", {"dtype": "int32"}, [50], [99], True),
        ("muls", {"dtype": "int32"}, [50], [51], False),
        ("basic_matmul", {"dtype": "float16", "k": 64}, [float("inf")], [0.0], True),
        ("add_rms_norm_quant", {}, [[1.0] * 1000], [[2.0, 2.0, *[1.0] * 998]], True),
        ("add_rms_norm_quant", {}, [[1.0] * 1000], [[2.0] * 4 + [1.0] * 996], False),
        ("default", {}, [1.0, 2.0], [1.0, float("nan")], False),
    ],
)
def test_holes_stay_open(
    rule: str, parameters: dict[str, Any], expected: list[Any], came: list[Any], *, passes: bool
) -> None:
    dtype = getattr(torch, parameters.get("dtype", "float32"))
    assert (
        verdict(rule, torch.tensor(expected, dtype=dtype), torch.tensor(came, dtype=dtype), parameters).passed
        == passes
    )


def test_a_shorter_list_passes_and_what_raises_is_named() -> None:
    ones = torch.ones(3)
    assert verdict("default", [ones, ones], [ones]).passed
    assert verdict("default", ones, torch.ones(4)).raises == "RuntimeError"
    assert verdict("norm_family", ones.int(), ones.int(), {"dtype": "int32"}).raises == "UnboundLocalError"
    assert verdict("basic_matmul", [ones], [ones], {"dtype": "float32", "k": 1}).raises == "AttributeError"


def test_an_unknown_rule_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match="norm_family"):
        verdict("norms", torch.ones(1), torch.ones(1))
    assert all(isinstance(name, str) for name in RULES)
