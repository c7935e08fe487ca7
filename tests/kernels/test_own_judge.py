"""Our judge closes the holes of the public rules, and stays silent beside each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.kernels.call import call, judge_call
from workbench.kernels.judge.own import judge
from workbench.kernels.kernel import Draw, Exact, moved
from workbench.kernels.operators import KERNELS

INF, NAN = float("inf"), float("nan")


def exact(*values: float, dtype: torch.dtype = torch.float32) -> Exact:
    return Exact(torch.tensor(values, dtype=torch.float64), dtype)


def rules(expected: Exact, came: Any, reference: Tensor | None = None) -> list[str]:
    sample = expected.value.to(expected.dtype) if reference is None else reference
    return [one.rule for one in judge(["y"], [expected], [[sample]], came).refusals]


@pytest.mark.parametrize(
    ("expected", "came", "rule"),
    [
        (exact(1.0, 2.0), [torch.tensor([NAN, NAN])], "KERNEL-NONFINITE"),
        (exact(1.0, 2.0), [], "KERNEL-COUNT"),
        (exact(2.0, 2.0), [torch.tensor([2.0])], "KERNEL-SHAPE"),
        (exact(INF, 2.0), [torch.tensor([0.0, 2.0])], "KERNEL-NONFINITE"),
        (exact(INF, 2.0), [torch.tensor([-INF, 2.0])], "KERNEL-NONFINITE"),
        (exact(NAN, 2.0), [torch.tensor([1.0, 2.0])], "KERNEL-NONFINITE"),
        (exact(0.015, 0.01), [torch.tensor([0.0, 0.0])], "KERNEL-VALUE"),
        (exact(1.0, 2.0), [torch.tensor([1.0, 2.0]).half()], "KERNEL-DTYPE"),
        (exact(1.0, 2.0), [[1.0, 2.0]], "KERNEL-TYPE"),
        (
            moved(torch.tensor([50], dtype=torch.int32)),
            [torch.tensor([51], dtype=torch.int32)],
            "KERNEL-EXACT",
        ),
        (moved(torch.tensor([0.0])), [torch.tensor([-0.0])], "KERNEL-EXACT"),
        (exact(70000.0, dtype=torch.float16), [torch.tensor([60000.0]).half()], "KERNEL-VALUE"),
    ],
)
def test_a_hole_is_closed(expected: Exact, came: Any, rule: str) -> None:
    assert rules(expected, came) == [rule]


@pytest.mark.parametrize(
    ("expected", "came"),
    [
        (exact(1.0, 2.0), [torch.tensor([1.0 + 2**-23, 2.0])]),
        (exact(1.0, dtype=torch.bfloat16), [torch.tensor([1.0 + 2**-7]).bfloat16()]),  # one step: lawful
        (exact(INF, NAN), [torch.tensor([INF, NAN])]),
        (moved(torch.tensor([NAN, -0.0])), [torch.tensor([NAN, -0.0])]),
        (exact(70000.0, dtype=torch.float16), [torch.tensor([INF]).half()]),
        (exact(65519.0, dtype=torch.float16), [torch.tensor([INF]).half()]),
        (exact(1e-45), [torch.tensor([0.0])]),
        (exact(), [torch.tensor([])]),
    ],
)
def test_the_neighbour_of_a_hole_passes(expected: Exact, came: Any) -> None:
    assert rules(expected, came) == []


def test_an_element_that_the_reference_cannot_do_is_open_and_counted() -> None:
    expected, reference = exact(1.0, 2.0), torch.tensor([NAN, 2.0])
    said = judge(["y"], [expected], [[reference]], [torch.tensor([7.0, 2.0])])
    assert (said.refusals, said.num_open, said.num_elements) == ((), 1, 1)
    assert rules(expected, [torch.tensor([7.0, 3.0])], reference) == ["KERNEL-VALUE"]


def test_the_allowance_follows_the_reference_and_ends() -> None:
    expected = exact(1.0)
    off = torch.tensor([1.0 + 40 * 2**-24])
    assert rules(expected, [off]) == ["KERNEL-VALUE"]
    assert rules(expected, [off], torch.tensor([1.0 + 12 * 2**-24])) == []
    assert rules(expected, [torch.tensor([1.1])], torch.tensor([1.1])) == ["KERNEL-VALUE"]


def results(name: str, candidate: Any, case: str) -> list[str]:
    kernel = KERNELS[name]
    called = call(kernel, candidate, kernel.case(case).build(Draw(0)))
    return [one.rule for one in judge_call(kernel, kernel.case(case), 0, called).judged.refusals]


def test_memory_is_judged() -> None:
    """Writing an input, handing out a view of one, and the same buffer twice; copies pass."""

    def into_input(memory: Tensor, places: Tensor) -> Tensor:
        rows = memory[:, places]
        memory.zero_()
        return rows

    def view(memory: Tensor, places: Tensor) -> Tensor:
        return memory[:, : len(places)]

    assert results("kv_gather", into_input, "static-float32") == ["KERNEL-INPUT"]
    assert results("kv_gather", view, "prefix") == ["KERNEL-ALIAS"]
    assert results("kv_gather", lambda memory, places: memory[:, places], "prefix") == []
    kept: list[Tensor] = []

    def kept_buffer(memory: Tensor, places: Tensor) -> Tensor:
        kept.append(memory[:, places])
        return kept[-1]

    assert results("kv_gather", kept_buffer, "static-float32") == []


def test_a_second_call_that_differs_is_noted() -> None:
    seen: list[int] = []

    def unstable(memory: Tensor, places: Tensor) -> Tensor:
        seen.append(1)
        return memory[:, places] + (len(seen) > 1)

    kernel = KERNELS["kv_gather"]
    assert not call(kernel, unstable, kernel.cases[0].build(Draw(0))).repeats
