"""Experiments with quantised matmul, MoE, cache writes and sampling."""

from __future__ import annotations

from functools import partial

from workbench.npu.contradictions import REFUSALS, accepted, contradiction, refused
from workbench.npu.dispatch import operator


@contradiction(
    "npu_weight_quant_batchmatmul",
    "Must x be transposed for per-group int4 weights in format NZ?",
    {"only transposed": "torch page", "only plain": "aclnn page"},
    followed="only plain",
)
def w4_nz_transposed(device: str) -> str:
    """Per-group int4 weights in NZ: the same product with x as it is, and as a transposed view."""
    import torch

    packed = operator("npu_convert_weight_to_int4pack")(
        torch.ones(256, 128, dtype=torch.int32, device=device)
    )
    weight = operator("npu_format_cast")(packed, 29)
    scale = torch.ones(4, 128, dtype=torch.bfloat16, device=device)
    states = torch.ones(16, 256, dtype=torch.bfloat16, device=device)
    views = {"plain": states, "transposed": states.t().contiguous().t()}
    multiply = operator("npu_weight_quant_batchmatmul")
    good = []
    for name, view in views.items():
        call = partial(multiply, view, weight, scale, antiquant_group_size=64)
        if accepted(call) == "accepted":
            good.append(name)
    return f"only {good[0]}" if len(good) == 1 else " and ".join(good) or "refused"


@contradiction(
    "npu_moe_gating_top_k",
    "Is renorm 1 allowed with softmax?",
    {"refused": "torch page", "accepted": "aclnn page"},
    followed="refused",
)
def moe_renorm(device: str) -> str:
    """Ask for renormalised softmax weights."""
    import torch

    logits = torch.linspace(-1, 1, 32, device=device).view(4, 8)
    return accepted(lambda: operator("npu_moe_gating_top_k")(logits, 2, renorm=1))


@contradiction(
    "npu_scatter_pa_kv_cache",
    "What happens to a row whose slot is -1?",
    {"refused": "torch page (range from 0)", "row skipped": "kernel source"},
    followed="refused",
)
def negative_slot(device: str) -> str:
    """Write two rows, the first to slot -1, and look which cache rows changed."""
    import torch

    caches = [torch.zeros(2, 16, 1, 64, dtype=torch.bfloat16, device=device) for _ in range(2)]
    rows = torch.ones(2, 1, 64, dtype=torch.bfloat16, device=device)
    slots = torch.tensor([-1, 5], dtype=torch.int32, device=device)
    write = operator("npu_scatter_pa_kv_cache")
    try:
        write(rows, rows.clone(), caches[0], caches[1], slots, cache_mode="Norm")
        written = caches[0].float().sum(dim=(2, 3)).flatten().cpu().nonzero().flatten().tolist()
    except REFUSALS as refusal:
        return refused(refusal)
    return "row skipped" if written == [5] else f"slots {written} written"


@contradiction(
    "npu_top_k_top_p",
    "May both p and k be left out, as the schema's defaults say?",
    {"accepted": "schema", "refused": "torch page and Meta function"},
    followed="refused",
)
def top_k_top_p_neither(device: str) -> str:
    """Leave both limits out."""
    import torch

    logits = torch.linspace(-1, 1, 32, device=device).view(2, 16)
    return accepted(lambda: operator("npu_top_k_top_p")(logits))
