"""Arguments are read by the pinned schema, and what nothing reads is never passed in silence."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tracing.errors import ContractError, UsageError
from workbench.kernels.calls import LEGAL
from workbench.kernels.calls.fused_infer_attention import FIA, FIA_V2, dense
from workbench.npu.contract import ContractRule, NotModelledError, need
from workbench.npu.definition import Operator, operator
from workbench.npu.operators import OPERATORS
from workbench.npu.signature import Signature

RULE = ContractRule("NPU-TOY-SIZE", "input", "one element", "this test", "npu_other")


def toy_check(input: torch.Tensor) -> None:  # noqa: A002  # schema name
    need(input.numel() == 1, RULE, input)


def toy(**changes: Any) -> Operator:
    """`npu_swiglu`, defined anew: the result is the input, `dim` is not read."""
    return operator("npu::npu_swiglu", **({"check": toy_check} | changes))(lambda input: input)  # noqa: A006  # schema name


def test_an_argument_that_nothing_reads_must_keep_its_default() -> None:
    """Bug: an option that the emulation does not know is dropped, and the result is called right."""
    one = torch.ones(1)
    assert toy()(one) is one
    assert toy()(one, -1) is one
    assert toy(ignored=["dim"])(one, 3) is one
    for given in (toy(), toy().check):
        with pytest.raises(NotModelledError, match=r"^npu_swiglu: dim may be legal.* nothing was checked$"):
            given(one, dim=0)


@pytest.mark.parametrize(
    ("name", "argument"),
    sorted((name, argument) for name, one in OPERATORS.items() for argument in one._not_modelled),
)
def test_each_unmodelled_argument_of_each_operator_is_refused(name: str, argument: str) -> None:
    call = next(build() for operator_name, build in LEGAL.values() if operator_name == name)
    with pytest.raises(NotModelledError, match=argument):
        OPERATORS[name].check(**call | {argument: torch.ones(1)})


def test_an_error_names_the_operator_that_was_called_and_not_the_one_that_shares_the_rule() -> None:
    with pytest.raises(ContractError, match=r"^npu_swiglu: input is") as caught:
        toy()(torch.ones(2))
    assert (caught.value.operator, caught.value.rule) == ("npu_swiglu", "NPU-TOY-SIZE")


def test_a_contract_cannot_read_what_the_schema_does_not_have() -> None:
    def misspelt(inptu: torch.Tensor) -> None:
        """Read an argument that does not exist."""

    with pytest.raises(TypeError, match="reads inptu, which the schema does not have"):
        toy(check=misspelt)


def test_an_operator_needs_a_pinned_schema() -> None:
    with pytest.raises(UsageError, match="npu::npu_no_such_thing has no pinned schema"):
        operator("npu::npu_no_such_thing", check=toy_check)(toy_check)


def test_arguments_come_by_position_by_name_and_by_default() -> None:
    signature = Signature.pinned("npu::npu_rms_norm")
    expected = {"input": 1, "gamma": 2, "epsilon": 1e-6}
    assert signature.bind((1, 2), {}) == signature.bind((1,), {"gamma": 2}) == expected
    assert signature.bind((), {"gamma": 2, "input": 1, "epsilon": 3}) == expected | {"epsilon": 3}


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((1,), {}, "missing a required argument: 'gamma'"),
        ((1, 2, 3, 4), {}, "too many positional arguments"),
        ((1, 2), {"gamma": 2}, "multiple values for argument 'gamma'"),
        ((1, 2), {"eps": 2}, "unexpected keyword argument 'eps'"),
        ((1,), {"eps": 2}, "missing a required argument: 'gamma'"),
    ],
)
def test_a_call_that_does_not_fit_the_schema_is_a_type_error(
    args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        OPERATORS["npu::npu_rms_norm"](*args, **kwargs)


def test_keyword_only_arguments_do_not_come_by_position() -> None:
    with pytest.raises(TypeError, match="too many positional arguments"):
        Signature.pinned(FIA).bind((1, 2, 3, 4), {})


def test_v1_and_v2_are_one_contract_under_two_sets_of_names() -> None:
    names = {"num_heads": "num_query_heads", "scale": "softmax_scale"}
    call = {names.get(name, name): value for name, value in dense().items()}
    first, second = OPERATORS[FIA](**dense())[0], OPERATORS[FIA_V2](**call)[0]
    assert torch.equal(first, second)
    with pytest.raises(TypeError, match="unexpected keyword argument 'num_heads'"):
        OPERATORS[FIA_V2](**dense())
