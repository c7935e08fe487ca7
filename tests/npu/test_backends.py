"""Emulations under the operators' names, and the one call site."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tracing.errors import EnvironmentProblemError, UsageError
from workbench.kernels.calls import sample
from workbench.npu import backends, dispatch
from workbench.npu.backends import register, registered_schema
from workbench.npu.operators import OPERATORS
from workbench.npu.schemas import pinned_schemas


@pytest.fixture(autouse=True, scope="module")
def _registered() -> None:
    register()


def test_the_pinned_list_is_whole_and_sorted_out_by_name() -> None:
    schemas = pinned_schemas()
    assert len(schemas) == 466
    assert all(schema.startswith(f"{name}(") for name, schema in schemas.items())


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_a_registered_operator_prints_exactly_its_pinned_schema(name: str) -> None:
    """Bug: a hand-edited schema string; torch would print another default or argument back."""
    assert registered_schema(name) == pinned_schemas()[name]


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_an_emulation_takes_the_schemas_arguments(name: str) -> None:
    """Bug: a renamed or reordered parameter works by position and fails by name, or the other way round."""
    operator = name.partition("::")[2].partition(".")[0]
    packet = getattr(getattr(torch.ops, name.partition("::")[0]), operator)
    arguments = packet.default._schema.arguments
    parameters = list(inspect.signature(OPERATORS[name]).parameters.values())
    assert [one.name for one in arguments] == [one.name for one in parameters]
    keywords = [one.kind is inspect.Parameter.KEYWORD_ONLY for one in parameters]
    assert keywords == [one.kwarg_only for one in arguments]
    for argument, parameter in zip(arguments, parameters, strict=True):
        assert argument.has_default_value() == (parameter.default is not inspect.Parameter.empty)
        if argument.has_default_value():
            assert argument.default_value == parameter.default


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_calling_by_name_gives_what_the_emulation_gives(name: str) -> None:
    """Bug: a registration under the wrong name or key; in-place operators are compared by what they wrote."""
    left, right = sample(name), sample(name)
    namespace, _, operator = name.partition("::")
    results = (
        dispatch.operator(operator, namespace)(*left[0], **left[1]),
        OPERATORS[name](*right[0], **right[1]),
    )
    for one, other in zip(_tensors(results[0]), _tensors(results[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    for one, other in zip(_tensors(left[0]), _tensors(right[0]), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)


THIN = {
    "npu_fused_infer_attention_score": ("npu::npu_fused_infer_attention_score", 3),
    "npu_rms_norm": ("npu::npu_rms_norm", 2),
    "npu_rotary_mul": ("npu::npu_rotary_mul", 3),
    "npu_swiglu": ("npu::npu_swiglu", 1),
    "npu_scatter_pa_kv_cache": ("npu::npu_scatter_pa_kv_cache", 5),
}


@pytest.mark.parametrize("function", sorted(THIN))
def test_each_thin_function_calls_its_operator_with_its_arguments(function: str) -> None:
    """Bug: two swapped arguments, or a dropped option, in the one line between the path and the operator."""
    name, num_arguments = THIN[function]
    args, kwargs = sample(name)
    assert len(args) == num_arguments
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def spying(operator: dispatch.Function) -> dispatch.Function:
        def spy(*got: Any, **named: Any) -> Any:
            seen.append((got, named))
            return operator(*got, **named)

        return spy

    with dispatch.wrapped(function, spying, name.partition("::")[0]):
        getattr(dispatch, function)(*args, **kwargs)
    ((got, named),) = seen
    assert all(one is other for one, other in zip(args, got, strict=False))
    assert named.keys() == kwargs.keys()


def test_a_wrapper_is_gone_after_its_block_and_nests() -> None:
    plain = dispatch.operator("npu_swiglu")
    with dispatch.wrapped("npu_swiglu", lambda _: min):
        with dispatch.wrapped("npu_swiglu", lambda _: max):
            assert dispatch.operator("npu_swiglu") is max
        assert dispatch.operator("npu_swiglu") is min
    assert dispatch.operator("npu_swiglu") is plain


def test_a_missing_operator_names_the_backend_and_the_operator() -> None:
    with pytest.raises(EnvironmentProblemError, match=r"backend .* has no operator npu_no_such_thing$"):
        dispatch.operator("npu_no_such_thing")


def test_registering_twice_is_one_registration() -> None:
    assert register() is register()


def test_an_emulation_without_a_schema_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"npu::npu_no_such_thing has no pinned schema"):
        backends._define("npu::npu_no_such_thing")


def test_cuda_tensors_reach_the_same_emulation() -> None:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    assert all(has(name, key) for name in OPERATORS for key in backends.KEYS)


def test_the_kernel_line_names_what_a_reader_needs() -> None:
    mask = torch.zeros(1, 60, 128, dtype=torch.bool)
    arguments = {
        "input_layout": "BSND",
        "sparse_mode": 0,
        "atten_mask": mask,
        "block_table": mask,
        "block_size": 64,
    }
    line = dispatch.kernel_text("npu_fused_infer_attention_score", arguments, backend="wheel")
    expected = "BSND sparse_mode=0 mask=bool[1, 60, 128] paged block_size=64 via wheel"
    assert line == f"npu_fused_infer_attention_score {expected}"
