"""Every contract rule is broken once, alone, and the error names it; the unbroken calls pass.

Which bug these catch: a rule that never fires, fires under another's name, or fires on a legal call.
"""

from __future__ import annotations

import string
from typing import Any

import pytest
import torch

from tracing.errors import ContractError, UsageError
from workbench.kernels.calls import BROKEN, LEGAL
from workbench.kernels.calls.common import causal, half
from workbench.kernels.calls.fused_infer_attention import (
    FIA,
    FIA_V2,
    compressed,
    decode,
    dense,
    masked,
    packed_paged,
    packed_v2,
    paged,
)
from workbench.kernels.calls.fused_infer_attention_broken import TREE_BROKEN
from workbench.npu.contract import NotModelledError
from workbench.npu.modes import Mode, has_capability, is_hardware, use_capabilities, use_mode
from workbench.npu.operators import OPERATORS, RULES

RULE_BY_ID = {rule.id: rule for rule in RULES}


def capabilities(rule: str) -> list[str]:
    return ["tree_mask_gqa"] if rule in TREE_BROKEN else []


@pytest.mark.parametrize("form", LEGAL)
def test_legal_calls_pass_contract_and_emulation(form: str) -> None:
    operator, build = LEGAL[form]
    assert OPERATORS[operator].check(**build()) is None
    OPERATORS[operator](**build())


def test_every_operator_has_a_legal_call() -> None:
    assert {operator for operator, _ in LEGAL.values()} == OPERATORS.keys()


def test_every_rule_has_exactly_one_broken_call() -> None:
    assert sorted(BROKEN) == sorted(RULE_BY_ID)
    assert len(RULES) == len(RULE_BY_ID)


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_call_is_refused_under_its_rule(rule: str) -> None:
    operator, build = BROKEN[rule]
    with use_capabilities(capabilities(rule)), pytest.raises(ContractError) as caught:
        OPERATORS[operator].check(**build())
    error = caught.value
    assert error.rule == rule
    assert error.operator == operator.split("::")[1]
    assert error.expected == RULE_BY_ID[rule].sentence
    assert all((error.argument, error.value, error.device, error.source))
    assert error.exit_code == 1


@pytest.mark.parametrize("rule", BROKEN)
def test_the_emulation_refuses_before_it_computes(rule: str) -> None:
    operator, build = BROKEN[rule]
    with use_capabilities(capabilities(rule)), pytest.raises(ContractError) as caught:
        OPERATORS[operator](**build())
    assert caught.value.rule == rule


@pytest.mark.parametrize("rule", [rule.id for rule in RULES if not rule.runs])
def test_hardware_mode_still_refuses_what_the_device_refuses(rule: str) -> None:
    operator, build = BROKEN[rule]
    with use_mode("hardware"), use_capabilities(capabilities(rule)), pytest.raises(ContractError) as caught:
        OPERATORS[operator].check(**build())
    assert caught.value.rule == rule


@pytest.mark.parametrize("rule", [rule.id for rule in RULES if rule.runs])
def test_hardware_mode_runs_what_the_device_runs(rule: str) -> None:
    operator, build = BROKEN[rule]
    with use_mode(Mode.HARDWARE):
        OPERATORS[operator](**build())


def test_rules_read_as_sentences() -> None:
    for rule in RULES:
        assert rule.id.startswith("NPU-")
        assert set(rule.id) <= set(string.ascii_uppercase + string.digits + "-"), rule.id
        assert all((rule.operator, rule.argument, rule.sentence, rule.source, rule.device)), rule.id
        assert not rule.sentence.endswith("."), rule.id


def test_rules_are_about_operators_that_are_defined() -> None:
    assert {rule.operator for rule in RULES} <= {name.split("::")[1] for name in OPERATORS}


def test_v2_errors_speak_with_the_names_of_v2() -> None:
    call = packed_v2(actual_seq_kvlen=[10, 4])
    with pytest.raises(ContractError, match="actual_seq_kvlen") as caught:
        OPERATORS[FIA_V2].check(**call)
    assert caught.value.operator.endswith("_v2")


@pytest.mark.parametrize(
    "rule",
    [rule for rule in BROKEN if BROKEN[rule][0] == FIA and rule not in {*TREE_BROKEN, "NPU-FIA-SCALE"}],
)
def test_v2_keeps_the_rules_of_v1(rule: str) -> None:
    renamed = {
        "actual_seq_lengths": "actual_seq_qlen",
        "actual_seq_lengths_kv": "actual_seq_kvlen",
        "num_heads": "num_query_heads",
        "scale": "softmax_scale",
    }
    call = {renamed.get(name, name): value for name, value in BROKEN[rule][1]().items()}
    with pytest.raises(ContractError) as caught:
        OPERATORS[FIA_V2].check(**call)
    assert caught.value.rule == rule


def test_a_wrong_value_is_told_with_what_to_do() -> None:
    with pytest.raises(ContractError) as caught:
        OPERATORS[FIA].check(**{name: value for name, value in dense().items() if name != "scale"})
    assert "npu_fused_infer_attention_score: scale is 1.0, expected" in str(caught.value)
    assert "NPU-FIA-SCALE" in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        dense(query_rope=dense()["query"]),
        dense(antiquant_mode=1),
        dense(key_antiquant_scale=torch.ones(2, 64)),
        dense(input_layout="BSND_NBSD"),
    ],
    ids=["rope", "mode", "scale", "layout"],
)
def test_what_is_not_covered_is_said_and_never_passed(call: dict[str, Any]) -> None:
    with pytest.raises(NotModelledError, match="nothing was checked"):
        OPERATORS[FIA].check(**call)
    with pytest.raises(NotModelledError):
        OPERATORS[FIA](**call)
    assert not issubclass(NotModelledError, ContractError)


NEAR_MISSES: dict[str, dict[str, Any]] = {
    "unused table entries may be anything": paged(
        block_table=torch.tensor([[2, 99], [0, 3]], dtype=torch.int32)
    ),
    "a request may be empty": dense(actual_seq_lengths_kv=[0, 8]),
    "one length speaks for all": dense(actual_seq_lengths_kv=[5]),
    "more lengths than requests": dense(actual_seq_lengths=[4, 4, 77]),
    "a larger 3-D mask is padding": masked(atten_mask=torch.zeros(1, 6, 12, dtype=torch.bool)),
    "int8 masks of 0 and 1": masked(atten_mask=masked()["atten_mask"].to(torch.int8)),
    "a hidden row with repair": masked(atten_mask=torch.ones(4, 8, dtype=torch.bool), inner_precise=2),
    "rows hidden by geometry": compressed(actual_seq_lengths_kv=[2, 8]),
    "decode ignores query lengths": decode(actual_seq_lengths=[77, -1]),
    "paged packed lengths are per request": packed_paged(
        actual_seq_lengths_kv=[20, 8], block_table=torch.tensor([[2, 1], [0, -1]], dtype=torch.int32)
    ),
    "float32 off the device": {
        name: value.float() if name in {"query", "key", "value"} else value for name, value in dense().items()
    },
    "a trailing part of a static cache is hidden": masked(
        atten_mask=torch.tensor([[0, 0, i < 1, i < 2, 1, 1, 1, 1] for i in range(4)]).bool()
    ),
    "a row that hides its own key among others": masked(
        atten_mask=torch.tensor([[0, 0, 0, 0, i != 1, 0, 1, 1] for i in range(4)]).bool()
    ),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses_pass(name: str) -> None:
    OPERATORS[FIA].check(**NEAR_MISSES[name])
    OPERATORS[FIA](**NEAR_MISSES[name])


@pytest.mark.parametrize("keys", [2, 8])
def test_an_inverted_mask_shows_from_two_queries_on(keys: int) -> None:
    """Bug: a bound of three lets the smallest tree through, one of one refuses a query that hides itself."""
    few = {"key": half(2, keys, 2, 64), "value": half(2, keys, 2, 64)}
    with pytest.raises(ContractError) as caught:
        OPERATORS[FIA].check(**dense(query=half(2, 2, 4, 64), atten_mask=~causal(2, keys), **few))
    assert caught.value.rule == "NPU-FIA-MASK-POLARITY"
    own_key_hidden = torch.zeros(2, keys, dtype=torch.bool)
    own_key_hidden[0, -1] = True
    one_query = {"query": half(2, 2, 4, 64), "actual_seq_lengths": [1, 1], "atten_mask": own_key_hidden}
    OPERATORS[FIA].check(**dense(**one_query, **few))


def test_modes_and_capabilities_are_scoped_and_checked() -> None:
    assert not is_hardware()
    with use_mode("hardware") as mode, use_capabilities(["mask_q1"]):
        assert mode is Mode.HARDWARE
        assert is_hardware()
        assert has_capability("mask_q1")
    assert not is_hardware()
    assert not has_capability("mask_q1")
    with pytest.raises(UsageError, match="npu mode should be one of"), use_mode("lenient"):
        pass
    with pytest.raises(UsageError, match="capabilities should be among"), use_capabilities(["mask_q2"]):
        pass


def test_a_capability_lifts_the_mask_rule_of_one_query_row() -> None:
    call = decode(atten_mask=torch.zeros(2, 8, dtype=torch.bool))
    with use_capabilities(["mask_q1"]):
        OPERATORS[FIA].check(**call)
