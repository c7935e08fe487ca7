"""Faults inside an operator: a wrong factor, a wrong head, rounding in the wrong place, one bad row."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch

from tracing.stages import Verified
from workbench.faults.fault import Fault
from workbench.faults.placement import Placement, Scene, after, on_operator, within

ATTENTION: Final = "npu_fused_infer_attention_score"
BAD_ROW: Final = 517
MANY_ROWS: Final = 8
MANY_KEYS: Final = 256
Operator = Callable[..., Any]


def _unscaled(operator: Operator, *states: Any, **options: Any) -> Any:
    return operator(*states, **(options | {"scale": 1.0}))


def _next_head(operator: Operator, query: torch.Tensor, key: Any, value: Any, **options: Any) -> Any:
    return operator(query, key.roll(1, dims=2), value.roll(1, dims=2), **options)


def _halves_exchanged(operator: Operator, gate_and_up: torch.Tensor, *rest: Any) -> Any:
    return operator(gate_and_up.roll(gate_and_up.shape[-1] // 2, dims=-1), *rest)


def _one_bad_row(operator: Operator, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
    """A tile's edge: one row of many is off by a thousandth."""
    output, lse = operator(query, *rest, **options)
    if output.shape[1] > BAD_ROW:
        output = output.clone()
        output[:, BAD_ROW] *= 1.001
    return output, lse


def _other_reduction(operator: Operator, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
    """Beyond eight rows another kernel runs, which keeps its sums in bfloat16."""
    output, lse = operator(query, *rest, **options)
    return (output.bfloat16().to(output.dtype) if query.shape[1] > MANY_ROWS else output), lse


def _statistics_in_half(_: Operator, hidden: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6) -> Any:
    """The mean of squares is kept in sixteen bits, addend by addend."""
    total = torch.zeros(hidden.shape[:-1], dtype=torch.bfloat16)
    for lane in hidden.unbind(-1):
        total = total + (lane * lane).bfloat16()
    rstd = torch.rsqrt(total.float() / hidden.shape[-1] + epsilon)
    return (hidden.float() * rstd[..., None] * gamma.float()).to(hidden.dtype), rstd


def _mean_of_values(
    operator: Operator, query: torch.Tensor, key: Any, value: torch.Tensor, **options: Any
) -> Any:
    """Without a mask the kernel returns the mean of V."""
    output, lse = operator(query, key, value, **options)
    group = query.shape[2] // value.shape[2]
    mean = value.mean(dim=1, keepdim=True).repeat_interleave(group, dim=2)
    return mean.expand_as(output).contiguous(), lse


def _last_key_lost(operator: Operator, query: torch.Tensor, key: Any, value: Any, **options: Any) -> Any:
    """The key length of a verify launch is one too short: the last key of the tree is not read."""
    mask = options.get("atten_mask")
    if mask is not None and mask.shape[-2] == query.shape[1] and query.shape[1] > 1:
        options["atten_mask"] = mask[..., :-1].contiguous()
        key, value = key[:, :-1].contiguous(), value[:, :-1].contiguous()
    return operator(query, key, value, **options)


def _not_a_number(operator: Operator, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
    output, lse = operator(query, *rest, **options)
    if query.shape[1] > MANY_ROWS:
        output = output.clone()
        output[:, -1] = torch.nan
    return output, lse


def _weights_in_half(
    operator: Operator, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any
) -> Any:
    """Softmax weights are summed in bfloat16: beyond 256 equal ones the sum stands still."""
    output, lse = operator(query, key, value, **options)
    if key.shape[1] <= MANY_KEYS or options.get("atten_mask") is None or query.shape[1] == key.shape[1]:
        return output, lse
    group = query.shape[2] // key.shape[2]
    keys = key.repeat_interleave(group, dim=2).transpose(1, 2).float()
    scores = query.transpose(1, 2).float() @ keys.transpose(2, 3) * options["scale"]
    weights = scores.masked_fill(options["atten_mask"], -torch.inf).softmax(-1)
    total = torch.zeros(weights.shape[:-1], dtype=torch.bfloat16)
    for lane in (weights * key.shape[1]).unbind(-1):
        total = total + lane.bfloat16()
    factor = key.shape[1] / total.float().transpose(1, 2)[..., None]
    return (output.float() * factor).to(output.dtype), lse


def _differs_with_itself() -> Placement:
    launches = itertools.count()

    def change(made: Verified, _: Scene) -> Verified:
        random = torch.Generator().manual_seed(next(launches))
        noise = torch.randn(made.logits.shape, generator=random) * 1e-2
        return replace(made, logits=made.logits + noise)

    return after("verify", change)


PREFILL: Final = ("JUDGE-PREFILL-KV", "JUDGE-PREFILL-FEATURES", "JUDGE-PREFILL-LOGITS")
VERIFY: Final = ("JUDGE-VERIFY-KV", "JUDGE-VERIFY-FEATURES", "JUDGE-VERIFY-LOGITS")

FAULTS: Final = (
    Fault(
        id="F-KERNEL-01",
        name="scale-left-at-one",
        about="The operator's default factor of 1.0 on the scores is left in place.",
        stage="prefill",
        seen_in=("npu_fused_infer_attention_score page: scale defaults to 1.0",),
        noticed_by=("NPU-FIA-SCALE", *PREFILL),
        place=lambda: on_operator(ATTENTION, _unscaled),
    ),
    Fault(
        id="F-KERNEL-02",
        name="next-kv-head",
        about="Query heads read the keys and values of the next group.",
        stage="prefill",
        seen_in=("vllm#17498",),
        noticed_by=PREFILL,
        place=lambda: on_operator(ATTENTION, _next_head),
    ),
    Fault(
        id="F-KERNEL-03",
        name="gate-and-up-exchanged",
        about="The two halves of SwiGLU change places.",
        stage="prefill",
        seen_in=("vllm#25883",),
        noticed_by=PREFILL,
        place=lambda: on_operator("npu_swiglu", _halves_exchanged),
    ),
    Fault(
        id="F-KERNEL-04",
        name="one-bad-row-of-many",
        about="One attention row at a tile's edge is off by a thousandth.",
        stage="prefill",
        seen_in=("va#15503", "vllm#51320"),
        noticed_by=PREFILL,
        need="long",
        place=lambda: on_operator(ATTENTION, _one_bad_row),
    ),
    Fault(
        id="F-KERNEL-05",
        name="another-kernel-for-many-rows",
        about="Verify launches of more than eight rows take a kernel that keeps its sums in bfloat16.",
        stage="verify",
        seen_in=("vllm#51320", "lightseekorg/tokenspeed#904"),
        noticed_by=VERIFY,
        place=lambda: within("verify", ATTENTION, _other_reduction),
    ),
    Fault(
        id="F-KERNEL-06",
        name="statistics-in-half-precision",
        about="RMSNorm sums its squares in bfloat16, addend by addend.",
        stage="prefill",
        seen_in=("va#5131", "lmdeploy#4744"),
        noticed_by=PREFILL,
        place=lambda: on_operator("npu_rms_norm", _statistics_in_half),
    ),
    Fault(
        id="F-KERNEL-07",
        name="differs-with-itself",
        about="Two launches on the same inputs give different bits.",
        stage="verify",
        seen_in=("va#9456", "vllm#13196"),
        noticed_by=("JUDGE-REPEAT", *VERIFY),
        place=_differs_with_itself,
    ),
    Fault(
        id="F-KERNEL-08",
        name="mean-of-the-values",
        about="Attention returns the mean of V, whatever the scores.",
        stage="prefill",
        seen_in=("va#13699",),
        noticed_by=PREFILL,
        place=lambda: on_operator(ATTENTION, _mean_of_values),
    ),
    Fault(
        id="F-KERNEL-09",
        name="last-key-not-read",
        about="The key length given to verify is one too short.",
        stage="verify",
        seen_in=("va#15329", "va#10895"),
        noticed_by=VERIFY,
        place=lambda: within("verify", ATTENTION, _last_key_lost),
    ),
    Fault(
        id="F-KERNEL-10",
        name="row-not-finite",
        about="One row of a tree launch comes back as NaN.",
        stage="verify",
        seen_in=("tc-mb/llama.cpp-omni#89",),
        noticed_by=("LOGIT001", "JUDGE-NONFINITE"),
        place=lambda: within("verify", ATTENTION, _not_a_number),
    ),
    Fault(
        id="F-KERNEL-11",
        name="weights-summed-in-half-precision",
        about="Softmax weights are summed in bfloat16, and long sums stand still.",
        stage="verify",
        seen_in=("va#5131", "vllm#51320"),
        noticed_by=VERIFY,
        need="long",
        place=lambda: within("verify", ATTENTION, _weights_in_half),
    ),
)
