"""Teachers with int4 weights: plain ones rounded here, or quantised checkpoints as they are shipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import torch

from tracing.errors import UsageError
from tracing.models import Quantisation, TeacherConfig
from tracing.settings import AS_IS
from workbench.weights.int4 import PER_WORD
from workbench.weights.int4_layouts import LAYOUTS, Shipped, quantise, ship

W4A16: Final = "w4a16"
GROUP_SIZE: Final = 64
LAYERS: Final = tuple(f".{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down"))
"""The linear layers of a block, those of experts among them; embedding, head, norms and routers stay."""
WITH_ZERO: Final = ("gptq", "awq")
"""Layouts whose files always hold zero points."""
SPELLING: Final = f"{AS_IS}, or {W4A16}[:LAYOUT[:GROUP]] with a layout out of {', '.join(LAYOUTS)}"


def parse_weights(text: str) -> Quantisation | None:
    """Read `--weights`: how to store the teacher, None as it is.

    Raises:
        UsageError: Neither of the forms.
    """
    if text == AS_IS:
        return None
    kind, *rest = text.split(":")
    layout = rest[0] if rest else next(iter(LAYOUTS))
    group = rest[1] if len(rest) > 1 else str(GROUP_SIZE)
    fits = group.isdecimal() and len(group) < 6 and int(group) % 32 == 0
    if kind != W4A16 or layout not in LAYOUTS or len(rest) > 2 or not fits:
        raise UsageError(f"--weights should be {SPELLING}, a multiple of 32 or 0, got {text!r}")
    return Quantisation(layout, int(group))


def quantised_teacher(
    config: TeacherConfig, weights: Mapping[str, torch.Tensor], quantisation: Quantisation
) -> tuple[TeacherConfig, dict[str, torch.Tensor]]:
    """Round the linear layers of a teacher to int4 and return it as that layout would ship it.

    Raises:
        UsageError: It is quantised already, or a layer has outputs that do not fill words.
    """
    if config.quantisation is not None:
        raise UsageError("--weights w4a16 rounds plain weights; this teacher is quantised already")
    kept: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        if name.endswith(".weight") and name.removesuffix(".weight").endswith(LAYERS):
            kept |= _as_shipped(name.removesuffix(".weight"), tensor, quantisation)
        else:
            kept[name] = tensor
    return replace(config, quantisation=quantisation), kept


def _as_shipped(key: str, weight: torch.Tensor, quantisation: Quantisation) -> dict[str, torch.Tensor]:
    if weight.shape[0] % PER_WORD or weight.shape[1] % PER_WORD:
        raise UsageError(
            f"{key} has shape {tuple(weight.shape)}; int4 words need multiples of {PER_WORD} on both axes"
        )
    plain = weight.detach().cpu().float().t().contiguous().numpy()
    layout = quantisation.layout
    numbers, scale, zero = quantise(plain, quantisation.group_size, with_zero=layout in WITH_ZERO)
    shipped: Shipped = ship(layout, numbers, scale, zero)
    made = {
        f"{key}.packed": torch.from_numpy(shipped.packed.copy()),
        f"{key}.scale": torch.from_numpy(shipped.scale.copy()),
    }
    if shipped.offset is not None:
        made[f"{key}.offset"] = torch.from_numpy(shipped.offset.copy())
    return made
