"""Calls of `npu_grouped_matmul`: legal ones, and one broken call for each rule."""

from __future__ import annotations

from typing import Any

import torch

from workbench.kernels.calls.common import Call, half

GROUPED = "npu::npu_grouped_matmul"


def counts(*values: int) -> torch.Tensor:
    """Return int64 numbers."""
    return torch.tensor(values)


def grouped(**changes: Any) -> dict[str, Any]:
    """5 rows over 3 matrices, the second of which has none."""
    return {
        "x": [half(5, 16)],
        "weight": [half(3, 16, 8)],
        "group_list": counts(2, 0, 3),
        "split_item": 2,
        "group_type": 0,
        "group_list_type": 1,
    } | changes


LEGAL: dict[str, Call] = {
    "grouped_matmul": (GROUPED, grouped),
    "grouped_matmul_ends": (GROUPED, lambda: grouped(group_list=counts(2, 2, 5), group_list_type=0)),
    "grouped_matmul_transposed": (GROUPED, lambda: grouped(weight=[half(3, 8, 16).transpose(1, 2)])),
}

BROKEN: dict[str, Call] = {
    "NPU-GMM-X": (GROUPED, lambda: grouped(x=[half(1, 5, 16)])),
    "NPU-GMM-WEIGHT": (GROUPED, lambda: grouped(weight=[half(3, 16, 8).float()])),
    "NPU-GMM-K": (GROUPED, lambda: grouped(x=[half(5, 8)])),
    "NPU-GMM-LIMIT": (
        GROUPED,
        lambda: grouped(
            x=[half(5, 1)], weight=[torch.zeros(3, 1, 65536, dtype=torch.bfloat16)], split_item=3
        ),
    ),
    "NPU-GMM-SPLIT": (GROUPED, lambda: grouped(split_item=0)),
    "NPU-GMM-TYPE": (GROUPED, lambda: grouped(group_type=None)),
    "NPU-GMM-LIST-TYPE": (GROUPED, lambda: grouped(group_list_type=2)),
    "NPU-GMM-GROUPS": (GROUPED, lambda: grouped(group_list=counts(2, 3))),
    "NPU-GMM-ROWS": (GROUPED, lambda: grouped(group_list=counts(2, 1, 3))),
}
