"""Names of Medusa tensors in the public layouts, brought to those of vLLM."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import torch

from tracing.errors import CheckpointError
from workbench.checkpoints.json_text import shown

PREFIXES: Final = ("medusa_heads.", "medusa_head.")

_BLOCK: Final = r"(?P<kind>weight|bias)\Z"
_LAYOUTS: Final[Mapping[str, tuple[re.Pattern[str], re.Pattern[str]]]] = {
    "vllm": (
        re.compile(r"blocks\.(?P<head>\d{1,3})\.layers\.(?P<layer>\d{1,3})\." + _BLOCK),
        re.compile(r"lm_heads\.(?P<head>\d{1,3})\.weight\Z"),
    ),
    "tensorrt_llm": (
        re.compile(r"(?P<head>\d{1,3})\.medusa_layers\.(?P<layer>\d{1,3})\.linear\." + _BLOCK),
        re.compile(r"(?P<head>\d{1,3})\.lm_head\.weight\Z"),
    ),
    "official": (
        re.compile(r"(?P<head>\d{1,3})\.(?P<layer>\d{1,3})\.linear\." + _BLOCK),
        re.compile(r"(?P<head>\d{1,3})\.(?P<layer>\d{1,3})\.weight\Z"),
    ),
}
"""Layout to the patterns of a residual block's tensor and of a head's last layer."""
OTHERS: Final = ("lm_head.weight", "token_map")


@dataclass(frozen=True, slots=True)
class NamedHeads:
    """Tensors of Medusa heads under canonical names.

    Attributes:
        layout: Whose names the file has.
        tensors: `blocks.{h}.layers.{l}.weight|bias`, `lm_heads.{h}.weight`, `lm_head.weight`, `token_map`.
        unexpected: Names in the file that mean nothing, sorted.
        num_heads, num_layers: Heads, and residual blocks of each.
    """

    layout: str
    tensors: Mapping[str, torch.Tensor]
    unexpected: tuple[str, ...]
    num_heads: int
    num_layers: int


def canonical_names(raw: Mapping[str, torch.Tensor]) -> NamedHeads:
    """Detect the layout and rename.

    Raises:
        CheckpointError: No head at all, numbers with a gap, or heads with different numbers of blocks.
    """
    bare = {_bare(name): tensor for name, tensor in raw.items()}
    layout = next((each for each, (block, _) in _LAYOUTS.items() if any(map(block.match, bare))), None)
    if layout is None:
        raise CheckpointError(
            f"the drafter has no Medusa head; expected names like 0.0.linear.weight or "
            f"blocks.0.layers.0.weight, the file holds {', '.join(map(shown, sorted(bare)[:3])) or 'nothing'}"
        )
    block, head = _LAYOUTS[layout]
    tensors, unexpected = {}, []
    for name, tensor in bare.items():
        if found := block.match(name):
            tensors[f"blocks.{int(found['head'])}.layers.{int(found['layer'])}.{found['kind']}"] = tensor
        elif found := head.match(name):
            tensors[f"lm_heads.{int(found['head'])}.weight"] = tensor
        elif name in OTHERS:
            tensors[name] = tensor
        else:
            unexpected.append(name)
    num_heads, num_layers = _counted(tensors)
    return NamedHeads(layout, tensors, tuple(sorted(unexpected)), num_heads, num_layers)


def _bare(name: str) -> str:
    return next((name.removeprefix(each) for each in PREFIXES if name.startswith(each)), name)


def _counted(names: Iterable[str]) -> tuple[int, int]:
    """Return how many heads there are, and how many blocks each has."""
    blocks = [name.split(".") for name in names if name.startswith("blocks.") and name.endswith(".weight")]
    layers_of: dict[int, set[int]] = {}
    for _, head, _, layer, _ in blocks:
        layers_of.setdefault(int(head), set()).add(int(layer))
    num_heads, num_layers = len(layers_of), len(layers_of.get(0, ()))
    if set(layers_of) != set(range(num_heads)):
        raise CheckpointError(f"Medusa heads should be numbered from 0, the file has {sorted(layers_of)[:8]}")
    for number, layers in sorted(layers_of.items()):
        if layers != set(range(num_layers)):
            raise CheckpointError(
                f"all Medusa heads should have the same blocks, numbered from 0; head 0 has {num_layers}, "
                f"head {number} has {sorted(layers)[:8]}"
            )
    return num_heads, num_layers
