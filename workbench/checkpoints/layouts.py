"""The three EAGLE-3 checkpoint layouts, told by config.json; the names of tensors are told by the file.

`official`: the code of the method's authors. `specforge`: SpecForge, NVIDIA's, AngelSlim's and TorchSpec's
exports. `speculators`: a nested block configuration, tapped layers as boundaries. The one layer is called
`midlayer.` or `layers.0.` in any of them, with or without `model.` before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from tracing.errors import CheckpointError
from workbench.checkpoints.config_keys import DRAFTER, EAGLE_BLOCK, SPECULATORS, audit
from workbench.checkpoints.config_values import block, names
from workbench.checkpoints.json_text import shown

INNER: Final = "transformer_layer_config"
OTHER_KINDS: Final = ("peagle", "dflash", "dspark", "domino", "medusa", "deepseek", "mtp", "nextn")
"""Parts of the names of architectures that other kinds of drafters have."""
ONE_LAYER: Final = "midlayer."
LAYER_NAMES: Final = (ONE_LAYER, "layers.0.")


@dataclass(frozen=True, slots=True)
class Layout:
    """How one family of checkpoints writes an EAGLE-3 drafter.

    Attributes:
        name: `official`, `specforge` or `speculators`.
        boundaries: Ids of tapped layers are boundaries by definition.
    """

    name: str
    boundaries: bool = False

    def inner_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the transformer block's configuration.

        Raises:
            CheckpointError: It is not there.
        """
        if self is not SPECULATORS_LAYOUT:
            return config
        inner = block(config, INNER)
        if not inner:
            raise CheckpointError(f"config.json: {INNER} is missing or not an object")
        return inner

    def unknown_keys(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the keys that no table knows.

        Raises:
            CheckpointError: A key has a value that changes the arithmetic to what is not computed here.
        """
        nested = audit(block(config, "eagle_config"), EAGLE_BLOCK, "eagle_config")
        if self is not SPECULATORS_LAYOUT:
            return audit(config, DRAFTER) + nested
        return audit(config, SPECULATORS) + nested + audit(self.inner_config(config), DRAFTER, INNER)


OFFICIAL: Final = Layout("official")
SPECFORGE: Final = Layout("specforge")
SPECULATORS_LAYOUT: Final = Layout("speculators", boundaries=True)


def detect_layout(config: Mapping[str, Any]) -> Layout:
    """Return the layout of a config.json.

    Raises:
        CheckpointError: Not an EAGLE-3 drafter.
    """
    speculators_type = config.get("speculators_model_type")
    if speculators_type is not None:
        if speculators_type != "eagle3":
            raise CheckpointError(
                f"config.json: speculators_model_type should be 'eagle3', got {shown(speculators_type)}"
            )
        return SPECULATORS_LAYOUT
    architectures = names(config, "architectures")
    for architecture in architectures:
        if any(kind in architecture.lower() for kind in OTHER_KINDS):
            raise CheckpointError(
                f"config.json: architectures names {shown(architecture)}; expected an EAGLE-3 drafter of "
                "Llama blocks, such as LlamaForCausalLMEagle3"
            )
    if "eagle_config" in config or any("eagle3" in one.lower() for one in architectures):
        return SPECFORGE
    if "draft_vocab_size" not in config:
        raise CheckpointError(
            "config.json has no draft_vocab_size; expected an EAGLE-3 drafter, this looks like another model"
        )
    return OFFICIAL


def canonical(raw: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of a file under canonical names.

    Raises:
        CheckpointError: Two names of the file mean the same tensor.
    """
    named: dict[str, torch.Tensor] = {}
    for name, tensor in raw.items():
        short = canonical_name(name)
        if short in named:
            raise CheckpointError(f"{name} means {short}, which the file holds under another name too")
        named[short] = tensor
    return named


def canonical_name(name: str) -> str:
    """Return the canonical name of a tensor of a file."""
    short = name.removeprefix("model.")
    for prefix in LAYER_NAMES:
        if short.startswith(prefix):
            return ONE_LAYER + short.removeprefix(prefix)
    return short


class FileNames:
    """Names as the file at hand would write them.

    Args:
        raw: Names of its tensors.
    """

    def __init__(self, raw: Iterable[str]) -> None:
        self._written = {canonical_name(name): name for name in raw}
        self._layer = next(
            (name.removesuffix(short.removeprefix(ONE_LAYER)) for short, name in self._written.items()
             if short.startswith(ONE_LAYER)),
            ONE_LAYER,
        )  # fmt: skip

    def __call__(self, short: str) -> str:
        """Return the file's name of a canonical one, also of a tensor that it lacks."""
        if short in self._written:
            return self._written[short]
        return self._layer + short.removeprefix(ONE_LAYER) if short.startswith(ONE_LAYER) else short
