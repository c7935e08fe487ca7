"""Which device, dtype and operators a path gets: what was asked, fitted to what is there and allowed."""

from __future__ import annotations

from typing import Final

import torch

from tracing.errors import EnvironmentProblemError
from tracing.models import ModelPair
from tracing.settings import DEVICES, DTYPES, DecodeSettings, require_one_of
from workbench.fused.drafters import drafter_kind
from workbench.fused.switches import Switches
from workbench.npu.backends import register

_HEAD_DIM_STEP: Final = 16
"""The fused attention operator takes head dims in multiples of this (BSND, more than one query row)."""
BLOCK_SIZES: Final = range(16, 1024 + 1, 16)
"""Tokens per block that the operator takes at head dims 64 and 128."""
_OTHER_BLOCK_SIZES: Final = range(128, 512 + 1, 128)
"""The same at every other head dim, by the stricter of the pages."""


def choose_device(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        UsageError: No such name.
        EnvironmentProblemError: No such device on this machine.
    """
    require_one_of("device", name, DEVICES)
    has_npu = register().backend.num_devices > 0
    if name == "npu" and not has_npu:
        raise EnvironmentProblemError(
            "device npu was asked for, but no Ascend device can be used; try --device cpu"
        )
    if name == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblemError("device cuda was asked for, but torch sees none; try --device cpu")
    if name == "auto":
        name = "npu" if has_npu else "cpu"
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of that name; `auto` depends on the device.

    Raises:
        UsageError: No such name.
    """
    require_one_of("dtype", name, DTYPES)
    if name == "auto":
        name = "bfloat16" if device.type == "npu" else "float32"
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found


def fit_switches(asked: Switches, pair: ModelPair, device: torch.device, dtype: torch.dtype) -> Switches:
    """Make eager what the operators' contracts do not allow for this pair, with the reasons."""
    fitted = asked
    configs = (pair.teacher, *drafter_kind(pair).attends(pair))
    head_dims = {config.head_dim for config in configs}
    if any(head_dim % _HEAD_DIM_STEP for head_dim in head_dims):
        reason = f"attention is eager: head dims {sorted(head_dims)} are no multiples of {_HEAD_DIM_STEP}"
        fitted = fitted.with_eager({"attention"}, reason)
    if device.type == "npu" and dtype is torch.float32:
        fitted = fitted.with_eager(
            {"attention"}, "attention is eager: the operator has no float32 on a device"
        )
    if "yarn" in {config.rope.kind for config in configs}:
        fitted = fitted.with_eager({"rotary"}, "rotary is eager: yarn scales cosines beyond 1")
    return fitted


def fit_blocks(asked: Switches, pair: ModelPair, settings: DecodeSettings) -> Switches:
    """Make attention eager where the operator does not take blocks of this size at the teacher's head dim."""
    head_dim, block_size = pair.teacher.head_dim, settings.block_size
    if settings.kv_layout != "paged" or head_dim in {64, 128} or block_size in _OTHER_BLOCK_SIZES:
        return asked
    reason = f"attention is eager: blocks of {block_size} need head dim 64 or 128, not {head_dim}"
    return asked.with_eager({"attention"}, reason)
