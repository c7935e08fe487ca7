"""Faults inside an operator: a wrong factor, a wrong head, rounding in the wrong place, one bad row."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch

from tracing.stages import Verified
from workbench.faults.fault import fault
from workbench.faults.placement import Change, Scene, after, on_operator, once_per_run, within

ATTENTION: Final = "npu_fused_infer_attention_score"
BAD_ROW: Final = 517
MANY_ROWS: Final = 8
MANY_KEYS: Final = 256
Operator = Callable[..., Any]
PREFILL: Final = ("JUDGE-PREFILL-KV", "JUDGE-PREFILL-FEATURES", "JUDGE-PREFILL-LOGITS")
VERIFY: Final = ("JUDGE-VERIFY-KV", "JUDGE-VERIFY-FEATURES", "JUDGE-VERIFY-LOGITS")


in_attention: Final = partial(fault, stage="prefill", noticed_by=PREFILL, placed=on_operator(ATTENTION))
in_verify: Final = partial(fault, stage="verify", placed=within("verify", ATTENTION))


@fault(
    "F-KERNEL-01",
    "npu_fused_infer_attention_score page: scale defaults to 1.0",
    stage="prefill",
    noticed_by=("NPU-FIA-SCALE", *PREFILL),
    placed=on_operator(ATTENTION),
)
def scale_left_at_one(operator: Operator, *states: Any, **options: Any) -> Any:
    """The operator's default factor of 1.0 on the scores is left in place."""
    return operator(*states, **(options | {"scale": 1.0}))


@in_attention("F-KERNEL-02", "vllm#17498")
def next_kv_head(operator: Operator, query: torch.Tensor, key: Any, value: Any, **options: Any) -> Any:
    """Query heads read the keys and values of the next group."""
    return operator(query, key.roll(1, dims=2), value.roll(1, dims=2), **options)


@fault("F-KERNEL-03", "vllm#25883", stage="prefill", noticed_by=PREFILL, placed=on_operator("npu_swiglu"))
def gate_and_up_exchanged(operator: Operator, gate_and_up: torch.Tensor, *rest: Any) -> Any:
    """The two halves of SwiGLU change places."""
    return operator(gate_and_up.roll(gate_and_up.shape[-1] // 2, dims=-1), *rest)


@in_attention("F-KERNEL-04", "va#15503", "vllm#51320", need="long")
def one_bad_row_of_many(operator: Operator, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
    """One attention row at a tile's edge is off by a thousandth."""
    output, lse = operator(query, *rest, **options)
    if output.shape[1] > BAD_ROW:
        output = output.clone()
        output[:, BAD_ROW] *= 1.001
    return output, lse


@in_verify("F-KERNEL-05", "vllm#51320", "lightseekorg/tokenspeed#904", noticed_by=VERIFY)
def another_kernel_for_many_rows(operator: Operator, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
    """Verify launches of more than eight rows take a kernel that keeps its sums in bfloat16."""
    output, lse = operator(query, *rest, **options)
    return (output.bfloat16().to(output.dtype) if query.shape[1] > MANY_ROWS else output), lse


@fault(
    "F-KERNEL-06",
    "va#5131",
    "lmdeploy#4744",
    stage="prefill",
    noticed_by=PREFILL,
    placed=on_operator("npu_rms_norm"),
)
def statistics_in_half_precision(
    _: Operator, hidden: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> Any:
    """RMSNorm sums its squares in bfloat16, addend by addend."""
    total = hidden.new_zeros(hidden.shape[:-1], dtype=torch.bfloat16)
    for lane in hidden.unbind(-1):
        total = total + (lane * lane).bfloat16()
    rstd = torch.rsqrt(total.float() / hidden.shape[-1] + epsilon)
    return (hidden.float() * rstd[..., None] * gamma.float()).to(hidden.dtype), rstd


@fault(
    "F-KERNEL-07",
    "va#9456",
    "vllm#13196",
    stage="verify",
    noticed_by=("JUDGE-REPEAT", *VERIFY),
    placed=once_per_run(after("verify")),
)
def differs_with_itself() -> Change:
    """Two launches on the same inputs give different bits."""
    launches = itertools.count()

    def noisy(made: Verified, _: Scene) -> Verified:
        random = torch.Generator().manual_seed(next(launches))
        noise = torch.randn(made.logits.shape, generator=random) * 1e-2
        return replace(made, logits=made.logits + noise.to(made.logits.device))

    return noisy


@in_attention("F-KERNEL-08", "va#13699")
def mean_of_the_values(
    operator: Operator, query: torch.Tensor, key: Any, value: torch.Tensor, **options: Any
) -> Any:
    """Attention returns the mean of V, whatever the scores."""
    output, lse = operator(query, key, value, **options)
    group = query.shape[2] // value.shape[2]
    mean = value.mean(dim=1, keepdim=True).repeat_interleave(group, dim=2)
    return mean.expand_as(output).contiguous(), lse


@in_verify("F-KERNEL-09", "va#15329", "va#10895", noticed_by=VERIFY)
def last_key_not_read(operator: Operator, query: torch.Tensor, key: Any, value: Any, **options: Any) -> Any:
    """The key length given to verify is one too short."""
    mask = options.get("atten_mask")
    if mask is not None and mask.shape[-2] == query.shape[1] and query.shape[1] > 1:
        options["atten_mask"] = mask[..., :-1].contiguous()
        key, value = key[:, :-1].contiguous(), value[:, :-1].contiguous()
    return operator(query, key, value, **options)


@in_verify("F-KERNEL-10", "tc-mb/llama.cpp-omni#89", noticed_by=("LOGIT001", "JUDGE-NONFINITE"))
def row_not_finite(operator: Operator, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
    """One row of a tree launch comes back as NaN."""
    output, lse = operator(query, *rest, **options)
    if query.shape[1] > MANY_ROWS:
        output = output.clone()
        output[:, -1] = torch.nan
    return output, lse


@in_verify("F-KERNEL-11", "va#5131", "vllm#51320", noticed_by=VERIFY, need="long")
def weights_summed_in_half_precision(
    operator: Operator, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any
) -> Any:
    """Softmax weights are summed in bfloat16, and long sums stop growing.

    Beyond 256 equal weights the next one is below half a unit of the sum.
    """
    output, lse = operator(query, key, value, **options)
    if key.shape[1] <= MANY_KEYS or options.get("atten_mask") is None or query.shape[1] == key.shape[1]:
        return output, lse
    group = query.shape[2] // key.shape[2]
    keys = key.repeat_interleave(group, dim=2).transpose(1, 2).float()
    scores = query.transpose(1, 2).float() @ keys.transpose(2, 3) * options["scale"]
    weights = scores.masked_fill(options["atten_mask"], -torch.inf).softmax(-1)
    total = weights.new_zeros(weights.shape[:-1], dtype=torch.bfloat16)
    for lane in (weights * key.shape[1]).unbind(-1):
        total = total + lane.bfloat16()
    factor = key.shape[1] / total.float().transpose(1, 2)[..., None]
    return (output.float() * factor).to(output.dtype), lse
