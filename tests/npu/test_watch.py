"""The watch: what it records and reports, and that it changes nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tracing.errors import ContractError
from tracing.moment import Moment
from workbench import npu
from workbench.kernels.calls import sample
from workbench.kernels.calls.fused_infer_attention import masked
from workbench.npu import operators
from workbench.npu.backends import register
from workbench.npu.indexing import INDEXED_OPERATORS

HERE = "tests/npu/test_watch.py"


class Trace:
    """A recorder of our own, as small as the watch's protocol."""

    def __init__(self) -> None:
        self.sites: list[tuple[str, int, int, int]] = []
        self.kernels: list[str] = []

    def index_site(self, site: str, minimum: int, maximum: int, bound: int) -> None:
        self.sites.append((site, minimum, maximum, bound))

    def kernel(self, text: str) -> None:
        self.kernels.append(text)


ROWS = torch.arange(24.0).view(6, 4)


def ids(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def index_calls(index: torch.Tensor) -> dict[str, Any]:
    """One call of every watched operator; `index` is legal for rows of `ROWS`."""
    wide = index[:, None].expand(-1, 4).contiguous()
    source = torch.ones(len(index), 4)
    return {
        "index": lambda: ROWS[index],
        "index_put": lambda: ROWS.clone().index_put_((index,), source),
        "index_select": lambda: ROWS.index_select(0, index),
        "gather": lambda: ROWS.gather(0, wide),
        "take": lambda: ROWS[:, 0].contiguous().take(index),
        "embedding": lambda: torch.nn.functional.embedding(index, ROWS),
        "scatter": lambda: ROWS.clone().scatter_(0, wide, source),
        "scatter_add": lambda: ROWS.clone().scatter_add_(0, wide, source),
        "scatter_reduce": lambda: ROWS.scatter_reduce(0, wide, source, "amax"),
        "index_add": lambda: ROWS.clone().index_add_(0, index, source),
        "index_copy": lambda: ROWS.clone().index_copy_(0, index, source),
        "index_fill": lambda: ROWS.clone().index_fill_(0, index, 0.0),
        "put": lambda: ROWS[:, 0].clone().put_(index, source[:, 0]),
    }


def test_these_tests_cover_every_indexed_operator() -> None:
    assert set(INDEXED_OPERATORS) == set(index_calls(ids(0)))


@pytest.mark.parametrize("name", sorted(INDEXED_OPERATORS))
@given(values=st.lists(st.integers(0, 5), min_size=1, max_size=5, unique=True))
def test_legal_indices_are_recorded_and_never_reported(name: str, values: list[int]) -> None:
    call = index_calls(ids(*values))[name]
    plain = call()
    with npu.watch(trace := Trace()) as watch:
        watched = call()
    assert torch.equal(plain, watched)
    assert [entry[1:] for entry in trace.sites] == [(min(values), max(values), 6)]
    assert trace.sites[0][0].startswith(f"{HERE}:")
    assert trace.sites[0][0].endswith(f" {name}")
    assert watch.findings == []


@pytest.mark.parametrize("name", sorted(INDEXED_OPERATORS))
@pytest.mark.parametrize("value", [-1, 6, -7])
def test_illegal_indices_are_reported_and_run_as_without_the_watch(name: str, value: int) -> None:
    """Where CPU torch raises it still raises; where it wraps around, the wrapped rows still come back."""
    call = index_calls(ids(0, value))[name]
    plain = outcome(call)
    with npu.watch() as watch:
        watched = outcome(call)
    assert plain == watched
    rules = {finding.rule: finding for finding in watch.findings}
    assert set(rules) == {
        *(["NPU-INDEX-NEGATIVE"] if value < 0 else []),
        *(["NPU-INDEX-RANGE"] if value in {6, -7} else []),
    }
    for finding in watch.findings:
        assert (finding.fused, finding.reference, finding.column) == (value, "0..5", "index_sites")
        assert f" {name}: index {value} where 0..5 is legal" in finding.message
    (site,) = watch.sites.values()
    assert (site.minimum, site.maximum, site.bound) == (min(0, value), max(0, value), 6)
    assert (site.num_uses, site.num_violations) == (1, 1)


def outcome(call: Any) -> Any:
    try:
        return call().tolist()
    except (IndexError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"


def test_a_documented_wrap_is_a_warning_only() -> None:
    """The device's gather takes [-n, n - 1]; every other operator's negative is an error."""
    severities = {}
    for name, call in index_calls(ids(0, -1)).items():
        with npu.watch() as watch:
            outcome(call)
        severities[name] = watch.findings[0].severity
    assert {name for name, severity in severities.items() if severity == "warning"} == {"gather"}


def test_masks_holes_and_scalars_are_not_indices() -> None:
    with npu.watch(trace := Trace()) as watch:
        _ = ROWS[ROWS > 3], ROWS[None], ROWS[-1], ROWS[:, -2:], ROWS[..., 0]
        _ = ROWS[torch.empty(0, dtype=torch.long)]
    assert trace.sites == []
    assert watch.findings == []


def test_each_index_is_held_against_its_own_axis() -> None:
    """Bug: a bound taken from axis 0 accepts column 5 of 4, or refuses a mask's columns."""
    boxes = torch.zeros(2, 3, 4, 5)
    mask = torch.ones(2, 3, dtype=torch.bool)
    with npu.watch(trace := Trace()):
        _ = boxes[:, ids(2), :, ids(4)]
        _ = boxes[mask, ids(3)]
        _ = boxes.gather(-1, torch.zeros(1, 1, 1, 1, dtype=torch.long))
    assert [entry[1:] for entry in trace.sites] == [(2, 2, 3), (4, 4, 5), (3, 3, 4), (0, 0, 5)]


def test_one_finding_per_site_and_rule_however_often() -> None:
    with npu.watch() as watch:
        for value in (-1, -2, 3, -1):
            _ = ROWS[ids(value)]
    assert [finding.fused for finding in watch.findings] == [-1]
    (site,) = watch.sites.values()
    assert (site.minimum, site.maximum, site.num_uses, site.num_violations) == (-2, 3, 4, 3)


def test_findings_carry_the_callers_moment_and_path() -> None:
    with npu.watch(path="mine", moment=lambda: Moment(2, 1, 7, "accept", 3)) as watch:
        _ = ROWS[ids(-1)]
    finding = watch.findings[0]
    assert (str(finding.moment), finding.path, finding.guilty) == ("2:1:7:accept:3", "mine", "mine")


def test_a_broken_contract_is_reported_and_the_call_still_ends_as_without_the_watch() -> None:
    register()
    args, kwargs = sample("npu::npu_swiglu")
    with npu.watch() as clean:
        torch.ops.npu.npu_swiglu(*args, **kwargs)
    odd = torch.ones(2, 7)
    with npu.watch() as watch, pytest.raises(ContractError) as raised:
        torch.ops.npu.npu_swiglu(odd)
    assert clean.findings == []
    assert [finding.rule for finding in watch.findings] == [raised.value.rule]
    assert watch.findings[0].message.startswith(f"{HERE}:")


def test_attention_calls_are_recorded_as_kernel_lines() -> None:
    register()
    with npu.watch(trace := Trace()) as watch:
        torch.ops.npu.npu_fused_infer_attention_score(**masked())
        torch.ops.npu.npu_swiglu(torch.ones(2, 8, dtype=torch.bfloat16))
    (line,) = trace.kernels
    assert line.startswith("npu_fused_infer_attention_score BSND sparse_mode=0 mask=bool[4, 8] via ")
    assert sum(watch.seen.kernels.values()) == 2
    assert watch.seen.unchecked == set()


def test_an_operator_without_a_contract_is_named_never_passed_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register()
    monkeypatch.setattr(operators, "OPERATORS", {})
    with npu.watch() as watch:
        torch.ops.npu.npu_swiglu(torch.ones(2, 8, dtype=torch.bfloat16))
    assert watch.seen.unchecked == {"npu::npu_swiglu"}


def test_a_check_that_fails_itself_is_reported_and_the_call_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    register()

    def broken_check(*_args: Any, **_kwargs: Any) -> None:
        raise ZeroDivisionError("in the check")

    monkeypatch.setattr(operators, "OPERATORS", {"npu::npu_swiglu": SimpleNamespace(check=broken_check)})
    with npu.watch() as watch:
        result = torch.ops.npu.npu_swiglu(torch.ones(2, 8, dtype=torch.bfloat16))
    assert result.shape == (2, 4)
    assert watch.seen.not_inspected == {"npu.npu_swiglu.default": "ZeroDivisionError: in the check"}


def test_the_watch_reads_inference_mode_and_gradients_alike() -> None:
    weight = torch.ones(6, 4, requires_grad=True)
    with npu.watch() as watch:
        torch.nn.functional.embedding(ids(1), weight).sum().backward()
        with torch.inference_mode():
            _ = ROWS[ids(2)]
    assert {site.rpartition(" ")[2] for site in watch.sites} == {"embedding", "index"}
    assert weight.grad is not None
    assert float(weight.grad.sum()) == 4.0
