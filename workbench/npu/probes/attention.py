"""Experiments with fused attention; each returns what it observed, in the words of `Claim.observation`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from workbench.npu.contradictions import REFUSALS, accepted, contradiction, refused
from workbench.npu.dispatch import operator

_FIA: Final = "npu_fused_infer_attention_score"
_FIA_PAGE: Final = f"torch page of {_FIA}"


def _ones(device: str, *shape: int) -> Any:
    import torch

    return torch.ones(*shape, dtype=torch.bfloat16, device=device)


def _attention(device: str, *, num_queries: int = 2, num_keys: int = 4, num_heads: int = 4) -> dict[str, Any]:
    """Return BSND arguments with zero queries: every visible column has the same weight; V counts columns."""
    import torch

    key = _ones(device, 1, num_keys, 1, 64)
    value = torch.arange(num_keys, device=device).view(1, num_keys, 1, 1) * key
    return {
        "query": 0 * _ones(device, 1, num_queries, num_heads, 64),
        "key": key,
        "value": value,
        "num_heads": num_heads,
        "num_key_value_heads": 1,
        "input_layout": "BSND",
        "scale": 0.125,
    }


def _call_attention(arguments: Mapping[str, Any]) -> Any:
    return operator(_FIA)(**arguments)


def _call_attention_v2(arguments: Mapping[str, Any]) -> Any:
    named = dict(arguments)
    named["num_query_heads"] = named.pop("num_heads")
    named["softmax_scale"] = named.pop("scale")
    return operator(f"{_FIA}_v2")(**named)


@contradiction(
    _FIA,
    "What shape has the second output when the log-sum-exp is not asked for?",
    {"(1,)": _FIA_PAGE, "(0,)": "torch_npu eager code and Meta function"},
    followed="(0,)",
)
def lse_off_shape(device: str) -> str:
    """Ask for no log-sum-exp and return the shape of the second output."""
    _, lse = _call_attention(_attention(device))
    return f"({', '.join(map(str, lse.shape))},)"


@contradiction(
    _FIA,
    "In which order are the axes of an output in layout NBSD?",
    {"(B, N, S, D)": _FIA_PAGE, "(N, B, S, D)": "torch_npu code and Meta function"},
    followed="(N, B, S, D)",
)
def nbsd_output(device: str) -> str:
    """Use four different sizes for B, N, S and D, so that the order of axes shows."""
    output, _ = _call_attention(
        {
            "query": _ones(device, 2, 3, 8, 512),
            "key": _ones(device, 2, 16, 1, 512),
            "value": _ones(device, 2, 16, 1, 512),
            "query_rope": _ones(device, 2, 3, 8, 64),
            "key_rope": _ones(device, 2, 16, 1, 64),
            "num_heads": 8,
            "num_key_value_heads": 1,
            "input_layout": "BSND_NBSD",
            "scale": 0.05,
        }
    )
    known = {(2, 8, 3, 512): "(B, N, S, D)", (8, 2, 3, 512): "(N, B, S, D)"}
    return known.get(tuple(output.shape), str(tuple(output.shape)))


@contradiction(
    f"{_FIA}_v2",
    "Does sparse_mode 9 (tree mask) work for plain grouped attention, without rope inputs?",
    {
        "refused": "wheel docstring and host check, July 2026",
        "equals the full mask": "aclnnFusedInferAttentionScoreV4 page, July 2026",
    },
    followed="refused",
)
def tree_mask_gqa(device: str) -> str:
    """Two branches behind one root, after a prefix of two: mode 9 against the same mask in full."""
    import torch

    arguments = _attention(device, num_queries=3, num_keys=5)
    blocked = torch.tensor([[[0, 1, 1], [0, 0, 1], [0, 1, 0]]], dtype=torch.bool, device=device)
    full = torch.nn.functional.pad(blocked, (2, 0))
    try:
        tree, _ = _call_attention_v2({**arguments, "sparse_mode": 9, "atten_mask": blocked})
    except REFUSALS as refusal:
        return refused(refusal)
    dense, _ = _call_attention_v2({**arguments, "sparse_mode": 0, "atten_mask": full})
    return "equals the full mask" if torch.allclose(tree.float(), dense.float(), atol=0.02) else "differs"


@contradiction(
    _FIA,
    "Does True in atten_mask hide a column or show it?",
    {
        "True hides": "parameter text, host code and vendor tests",
        "True shows": f"example 3 of the {_FIA_PAGE} (a lower triangle as causal mask)",
    },
    followed="True hides",
)
def mask_polarity(device: str) -> str:
    """True on column 0 only, of columns that count 0, 1, 2, 3: the output is 0 when shown, 2 when hidden."""
    import torch

    mask = torch.zeros(1, 1, 2, 4, dtype=torch.bool, device=device)
    mask[..., 0] = True
    output, _ = _call_attention({**_attention(device), "sparse_mode": 0, "atten_mask": mask})
    seen = round(float(output.float().mean()))
    return {0: "True shows", 2: "True hides"}.get(seen, f"mean of columns {seen}")


@contradiction(
    _FIA,
    "Is block_size 1024 allowed with head dim 128?",
    {"refused": f"{_FIA_PAGE} (limit 512)", "accepted": "aclnn page and host check (1024)"},
    followed="accepted",
)
def block_size_max(device: str) -> str:
    """Attend over one block of 1024 tokens."""
    import torch

    cache = _ones(device, 1, 1024, 128)
    arguments = {
        "query": _ones(device, 1, 2, 1, 128),
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
    return accepted(lambda: _call_attention(arguments))


@contradiction(
    f"{_FIA}_v2",
    "May learnable_sink be float16?",
    {"refused": "host check", "accepted": "aclnn page"},
    followed="refused",
)
def sink_dtype(device: str) -> str:
    """Give a float16 sink."""
    import torch

    sink = torch.zeros(4, dtype=torch.float16, device=device)
    return accepted(lambda: _call_attention_v2({**_attention(device), "learnable_sink": sink}))


@contradiction(
    _FIA,
    "May more than 64 query heads share one KV head?",
    {"refused": _FIA_PAGE, "accepted": "aclnnFusedInferAttentionScoreV4 page"},
    followed="refused",
)
def gqa_ratio(device: str) -> str:
    """Let 128 query heads share one KV head."""
    return accepted(lambda: _call_attention(_attention(device, num_heads=128)))


@contradiction(
    _FIA,
    "Is a batch of 65536 allowed?",
    {"refused": "torch page of npu_incre_flash_attention (65535)", "accepted": _FIA_PAGE},
    followed="accepted",
)
def batch_max(device: str) -> str:
    """Attend over 65536 requests of one token each."""
    row = _ones(device, 65536, 1, 1, 16)
    named = {"num_heads": 1, "num_key_value_heads": 1, "input_layout": "BSND", "scale": 0.25}
    return accepted(
        lambda: _call_attention({"query": row, "key": row.clone(), "value": row.clone(), **named})
    )


@contradiction(
    _FIA,
    "Is the whole mask read when there is one query row and more than 512 columns?",
    {"mask obeyed": _FIA_PAGE, "columns past 512 not masked": "vllm-ascend issue 15503, torch_npu 2.10"},
    followed="mask obeyed",
)
def mask_q1(device: str) -> str:
    """Hide the upper half of 1024 paged columns; V is 1 in the lower half and 3 in the upper."""
    import torch

    arguments = _attention(device, num_queries=1, num_keys=1024)
    arguments["value"] = (2.0 * (arguments["value"] >= 512) + 1).to(torch.bfloat16)
    paged = {name: arguments[name].reshape(8, 128, 64) for name in ("key", "value")}
    table = torch.arange(8, dtype=torch.int32, device=device).view(1, 8)
    paged |= {"block_table": table, "block_size": 128, "actual_seq_lengths_kv": [1024]}
    paged["atten_mask"] = (torch.arange(1024, device=device) >= 512).view(1, 1, 1, 1024)
    output, _ = _call_attention({**arguments, **paged})
    mean = round(float(output.float().mean()), 1)
    return {1.0: "mask obeyed", 2.0: "columns past 512 not masked"}.get(mean, f"mean {mean}")


@contradiction(
    _FIA,
    "Does layout TND without a mask weigh columns by their scores?",
    {"by score": _FIA_PAGE, "uniform average": "vllm-ascend issue 13699"},
    followed="by score",
)
def tnd_without_mask(device: str) -> str:
    """Column 0 has all the score and V = 8; a uniform average over the 8 columns would be 1."""
    import torch

    query = torch.zeros(4, 1, 64, dtype=torch.bfloat16, device=device)
    key, value = (torch.zeros(8, 1, 64, dtype=torch.bfloat16, device=device) for _ in range(2))
    query[..., 0], key[0, :, 0], value[0] = 100, 1, 8
    lengths = {"actual_seq_lengths": [4], "actual_seq_lengths_kv": [8]}
    named = {"num_heads": 1, "num_key_value_heads": 1, "input_layout": "TND", "scale": 0.5, **lengths}
    output, _ = _call_attention({"query": query, "key": key, "value": value, **named})
    mean = round(float(output.float().mean()))
    return {8: "by score", 1: "uniform average"}.get(mean, f"mean {mean}")
