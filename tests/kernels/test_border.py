"""Every operator of the border has a row, and the border's own passes it: the judge raises no false alarm.

Which bugs this catches: an exact result that is wrong, an allowance too tight, a case that breaks a contract.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tracing.errors import UsageError
from workbench.kernels.call import call, judge_call, same_bits
from workbench.kernels.kernel import Draw, Kernel, traffic
from workbench.kernels.operators import KERNELS, chosen
from workbench.npu.operators import OPERATORS

SEEDS = (0,)


def border(kernel: Kernel) -> Any:
    return OPERATORS[kernel.operator] if kernel.operator else kernel.own


def test_every_operator_of_the_border_has_a_row() -> None:
    assert OPERATORS.keys() == {kernel.operator for kernel in KERNELS.values() if kernel.operator}


@pytest.mark.parametrize("name", KERNELS)
def test_the_border_passes_its_own_cases(name: str) -> None:
    kernel = KERNELS[name]
    for seed in SEEDS:
        for case in kernel.cases:
            result = judge_call(kernel, case, seed, call(kernel, border(kernel), case.build(Draw(seed))))
            assert result.passed, (case.name, result.judged.refusals)
            assert result.repeats
            assert result.judged.num_elements or case.values == "empty" or case.name == "start-30", case.name


@pytest.mark.parametrize("name", KERNELS)
def test_cases_are_of_several_kinds_and_say_what_they_move(name: str) -> None:
    kernel = KERNELS[name]
    names = [case.name for case in kernel.cases]
    assert len(names) == len(set(names))
    assert {case.form for case in kernel.cases} == {"static", "dynamic"}
    arguments = kernel.cases[0].build(Draw(0))
    moved = traffic(kernel, arguments, kernel.truth(arguments))
    assert min(moved.read, moved.written) > 0
    again = kernel.cases[0].build(Draw(0))
    for argument, value in arguments.items():
        if isinstance(value, torch.Tensor):
            assert same_bits(value, again[argument])


def test_adversarial_values_are_all_there() -> None:
    kinds = {case.values for kernel in KERNELS.values() for case in kernel.cases}
    assert kinds >= {
        "nan",
        "inf",
        "denormal",
        "ties",
        "empty",
        "strided",
        "tile",
        "keys512",
        "stale",
        "large",
    }


def test_names_are_chosen_and_unknown_ones_refused() -> None:
    assert [one.name for one in chosen(["npu_swiglu", "kv_gather", "npu_swiglu"])] == [
        "npu_swiglu",
        "kv_gather",
    ]
    assert len(chosen([])) == len(KERNELS)
    with pytest.raises(UsageError, match="npu_rms_norm"):
        chosen(["npu_rms"])
