"""Small experiments on a device, one per contradiction of the vendor's pages.

A probe returns what it observed, in the words of `contradictions.Claim.observation`. Each runs in a process
of its own (`python -m workbench.npu.probes KEY DEVICE`): a fault inside a kernel ends that process only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from tracing.errors import ContractError
from workbench.npu.bootstrap import bootstrap
from workbench.npu.calls import operator

Probe = Callable[[str], str]
_FIA: Final = "npu_fused_infer_attention_score"


def _accepted(call: Callable[[], Any]) -> str:
    """Return `accepted` or `refused`; the copy to the host waits for the device's own verdict."""
    try:
        result = call()
        for tensor in result if isinstance(result, tuple) else (result,):
            tensor.cpu()
    except (ContractError, RuntimeError, ValueError, TypeError) as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return "refused"
    return "accepted"


def _attention(device: str, *, num_queries: int = 2, num_keys: int = 4, num_heads: int = 4) -> dict[str, Any]:
    """Return BSND arguments with zero queries: every visible column has the same weight; V counts columns."""
    import torch

    def ones(*shape: int) -> Any:
        return torch.ones(*shape, dtype=torch.bfloat16, device=device)

    value = torch.arange(num_keys, device=device).view(1, num_keys, 1, 1) * ones(1, num_keys, 1, 64)
    return {
        "query": 0 * ones(1, num_queries, num_heads, 64),
        "key": ones(1, num_keys, 1, 64),
        "value": value,
        "num_heads": num_heads,
        "num_key_value_heads": 1,
        "input_layout": "BSND",
        "scale": 0.125,
    }


def _call_attention(arguments: Mapping[str, Any]) -> Any:
    named = dict(arguments)
    return operator(_FIA)(named.pop("query"), named.pop("key"), named.pop("value"), **named)


def _call_attention_v2(arguments: Mapping[str, Any]) -> Any:
    named = dict(arguments)
    named["num_query_heads"] = named.pop("num_heads")
    named["softmax_scale"] = named.pop("scale")
    return operator(f"{_FIA}_v2")(named.pop("query"), named.pop("key"), named.pop("value"), **named)


def _lse_off_shape(device: str) -> str:
    _, lse = _call_attention(_attention(device))
    return f"({', '.join(map(str, lse.shape))},)"


def _nbsd_output(device: str) -> str:
    import torch

    def ones(*shape: int) -> Any:
        return torch.ones(*shape, dtype=torch.bfloat16, device=device)

    output, _ = _call_attention(
        {
            "query": ones(2, 3, 8, 512),
            "key": ones(2, 16, 1, 512),
            "value": ones(2, 16, 1, 512),
            "query_rope": ones(2, 3, 8, 64),
            "key_rope": ones(2, 16, 1, 64),
            "num_heads": 8,
            "num_key_value_heads": 1,
            "input_layout": "BSND_NBSD",
            "scale": 0.05,
        }
    )
    known = {(2, 8, 3, 512): "(B, N, S, D)", (8, 2, 3, 512): "(N, B, S, D)"}
    return known.get(tuple(output.shape), str(tuple(output.shape)))


def _tree_mask_gqa(device: str) -> str:
    """Two branches behind one root, after a prefix of two: mode 9 against the same mask in full."""
    import torch

    arguments = _attention(device, num_queries=3, num_keys=5)
    blocked = torch.tensor([[[0, 1, 1], [0, 0, 1], [0, 1, 0]]], dtype=torch.bool, device=device)
    full = torch.nn.functional.pad(blocked, (2, 0))
    try:
        tree, _ = _call_attention_v2({**arguments, "sparse_mode": 9, "atten_mask": blocked})
    except (ContractError, RuntimeError, ValueError) as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return "refused"
    dense, _ = _call_attention_v2({**arguments, "sparse_mode": 0, "atten_mask": full})
    return "equals the full mask" if torch.allclose(tree.float(), dense.float(), atol=0.02) else "differs"


def _mask_polarity(device: str) -> str:
    """True on column 0 only, of columns that count 0, 1, 2, 3: the output is 0 when shown, 2 when hidden."""
    import torch

    mask = torch.zeros(1, 1, 2, 4, dtype=torch.bool, device=device)
    mask[..., 0] = True
    output, _ = _call_attention({**_attention(device), "sparse_mode": 0, "atten_mask": mask})
    seen = round(float(output.float().mean()))
    return {0: "True shows", 2: "True hides"}.get(seen, f"mean of columns {seen}")


def _block_size_max(device: str) -> str:
    import torch

    cache = torch.ones(1, 1024, 128, dtype=torch.bfloat16, device=device)
    arguments = {
        "query": torch.ones(1, 2, 1, 128, dtype=torch.bfloat16, device=device),
        "key": cache,
        "value": cache.clone(),
        "block_table": torch.zeros(1, 1, dtype=torch.int32, device=device),
        "block_size": 1024,
        "actual_seq_lengths_kv": [1024],
        "num_heads": 1,
        "num_key_value_heads": 1,
        "input_layout": "BSND",
        "scale": 0.1,
    }
    return _accepted(lambda: _call_attention(arguments))


def _w4_nz_transposed(device: str) -> str:
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
        if _accepted(call) == "accepted":
            good.append(name)
    return f"only {good[0]}" if len(good) == 1 else " and ".join(good) or "refused"


def _moe_renorm(device: str) -> str:
    import torch

    logits = torch.linspace(-1, 1, 32, device=device).view(4, 8)
    return _accepted(lambda: operator("npu_moe_gating_top_k")(logits, 2, renorm=1))


def _negative_slot(device: str) -> str:
    import torch

    caches = [torch.zeros(2, 16, 1, 64, dtype=torch.bfloat16, device=device) for _ in range(2)]
    rows = torch.ones(2, 1, 64, dtype=torch.bfloat16, device=device)
    slots = torch.tensor([-1, 5], dtype=torch.int32, device=device)
    write = operator("npu_scatter_pa_kv_cache")
    try:
        write(rows, rows.clone(), caches[0], caches[1], slots, cache_mode="Norm")
        written = caches[0].float().sum(dim=(2, 3)).flatten().cpu().nonzero().flatten().tolist()
    except (ContractError, RuntimeError, ValueError) as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return "refused"
    return "row skipped" if written == [5] else f"slots {written} written"


def _top_k_top_p_neither(device: str) -> str:
    import torch

    logits = torch.linspace(-1, 1, 32, device=device).view(2, 16)
    return _accepted(lambda: operator("npu_top_k_top_p")(logits))


def _sink_dtype(device: str) -> str:
    import torch

    sink = torch.zeros(4, dtype=torch.float16, device=device)
    return _accepted(lambda: _call_attention_v2({**_attention(device), "learnable_sink": sink}))


def _gqa_ratio(device: str) -> str:
    return _accepted(lambda: _call_attention(_attention(device, num_heads=128)))


PROBES: Final[Mapping[str, Probe]] = MappingProxyType(
    {
        "lse_off_shape": _lse_off_shape,
        "nbsd_output": _nbsd_output,
        "tree_mask_gqa": _tree_mask_gqa,
        "mask_polarity": _mask_polarity,
        "block_size_max": _block_size_max,
        "w4_nz_transposed": _w4_nz_transposed,
        "moe_renorm": _moe_renorm,
        "negative_slot": _negative_slot,
        "top_k_top_p_neither": _top_k_top_p_neither,
        "sink_dtype": _sink_dtype,
        "gqa_ratio": _gqa_ratio,
    }
)
"""Probes by the key of their contradiction."""


def main(key: str, device: str) -> None:
    """Run one probe and print its observation as one JSON line."""
    bootstrap()
    print(json.dumps({"key": key, "observed": PROBES[key](device)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
