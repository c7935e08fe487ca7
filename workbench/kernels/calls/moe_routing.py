"""Calls of `npu_moe_init_routing_v2` and `npu_moe_finalize_routing`: legal and broken ones."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, half, ints

ROUTING = "npu::npu_moe_init_routing_v2"
FINALIZE = "npu::npu_moe_finalize_routing"


def ids(*rows: tuple[int, ...]) -> torch.Tensor:
    """Experts of rows, int32."""
    return torch.tensor(rows, dtype=torch.int32)


def routing(**changes: Any) -> dict[str, Any]:
    """3 rows to 2 of 6 experts each."""
    return {
        "x": half(3, 8),
        "expert_idx": ids((0, 4), (2, 3), (0, 3)),
        "active_num": 6,
        "expert_num": 6,
        "expert_tokens_num_type": 1,
        "expert_tokens_num_flag": True,
        "active_expert_range": [0, 6],
    } | changes


def finalize(**changes: Any) -> dict[str, Any]:
    """What 2 experts gave for each of 3 rows; places by row."""
    return {
        "expanded_permuted_rows": half(6, 8),
        "skip1": None,
        "skip2": None,
        "bias": None,
        "scales": half(3, 2),
        "expanded_src_to_dst_row": ints(0, 5, 2, 3, 1, 4),
        "export_for_source_row": ids((0, 4), (2, 3), (0, 3)),
        "drop_pad_mode": 2,
    } | changes


def dropping(**changes: Any) -> dict[str, Any]:
    """The same of 5 experts that take 2 rows each; one row was dropped."""
    places = ints(0, 8, 4, 6, -1, 7)
    return finalize(
        expanded_permuted_rows=half(5, 2, 8), expanded_src_to_dst_row=places, drop_pad_mode=3, **changes
    )


LEGAL: dict[str, Call] = {
    "moe_routing": (ROUTING, routing),
    "moe_routing_range": (ROUTING, lambda: routing(active_expert_range=[2, 4], row_idx_type=1)),
    "moe_routing_pairs": (ROUTING, lambda: routing(expert_tokens_num_type=2, active_expert_range=[1, 5])),
    "moe_finalize": (FINALIZE, finalize),
    "moe_finalize_by_choice": (
        FINALIZE,
        lambda: finalize(drop_pad_mode=0, skip1=half(3, 8), skip2=half(3, 8), bias=half(5, 8)),
    ),
    "moe_finalize_dropped": (FINALIZE, dropping),
}

BROKEN: dict[str, Call] = {
    "NPU-MOEI-X": (ROUTING, lambda: routing(x=half(3, 8).double())),
    "NPU-MOEI-IDS": (ROUTING, lambda: routing(expert_idx=routing()["expert_idx"].long())),
    "NPU-MOEI-COUNTS": (ROUTING, lambda: routing(expert_tokens_num_type=0)),
    "NPU-MOEI-FLAG": (ROUTING, lambda: routing(expert_tokens_num_flag=False)),
    "NPU-MOEI-EXPERTS": (ROUTING, lambda: routing(expert_num=10241)),
    "NPU-MOEI-RANGE": (ROUTING, lambda: routing(active_expert_range=[2, 7])),
    "NPU-MOEI-ACTIVE": (ROUTING, lambda: routing(active_num=3)),
    "NPU-MOEI-INDEX": (ROUTING, lambda: routing(row_idx_type=2)),
    "NPU-MOEI-VALUES": (ROUTING, lambda: routing(expert_idx=ids((0, 4), (2, 6), (0, 3)))),
    "NPU-MOEF-MODE": (FINALIZE, lambda: finalize(drop_pad_mode=4)),
    "NPU-MOEF-ROWS": (FINALIZE, lambda: finalize(expanded_permuted_rows=half(5, 8))),
    "NPU-MOEF-SCALES": (FINALIZE, lambda: finalize(scales=half(3, 2).float())),
    "NPU-MOEF-INDEX": (FINALIZE, lambda: finalize(expanded_src_to_dst_row=ints(0, 5, 2))),
    "NPU-MOEF-VALUES": (FINALIZE, lambda: finalize(expanded_src_to_dst_row=ints(0, 5, 2, -1, 1, 4))),
    "NPU-MOEF-SKIP": (FINALIZE, lambda: finalize(skip2=half(3, 8))),
    "NPU-MOEF-BIAS": (FINALIZE, lambda: finalize(bias=half(5, 8), export_for_source_row=None)),
    "NPU-MOEF-EXPERTS": (FINALIZE, lambda: finalize(bias=half(4, 8))),
}
