"""Small experiments on a device, one per contradiction of the vendor's pages.

Each runs in a process of its own (`python -m workbench.npu.probes KEY DEVICE`): a fault inside a kernel ends
that process only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from workbench.npu.probes import attention, others

Probe = Callable[[str], str]
"""Takes a torch device, returns what was observed."""

PROBES: Final[Mapping[str, Probe]] = MappingProxyType(
    {
        "lse_off_shape": attention.lse_off_shape,
        "nbsd_output": attention.nbsd_output,
        "tree_mask_gqa": attention.tree_mask_gqa,
        "mask_polarity": attention.mask_polarity,
        "block_size_max": attention.block_size_max,
        "w4_nz_transposed": others.w4_nz_transposed,
        "moe_renorm": others.moe_renorm,
        "negative_slot": others.negative_slot,
        "top_k_top_p_neither": others.top_k_top_p_neither,
        "sink_dtype": attention.sink_dtype,
        "gqa_ratio": attention.gqa_ratio,
        "batch_max": attention.batch_max,
        "mask_q1": attention.mask_q1,
        "tnd_without_mask": attention.tnd_without_mask,
    }
)
"""Probes by the key of their contradiction."""
