"""The teacher: our layers over weights that were put in their places by the names of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tracing.errors import CheckpointError
from tracing.models import Taps, TeacherConfig
from workbench.fused.attention import AttentionCall
from workbench.fused.cache.pages import Pages
from workbench.fused.cache.rows import RowCache
from workbench.fused.experts import LayerRouting, place_experts
from workbench.fused.operators import Operators
from workbench.fused.quantised import put_in_place
from workbench.fused.rotary import PLAIN, Rotary
from workbench.fused.teacher_config import build_config, own_theta, require_known
from workbench.fused.teacher_modules import RmsNorm, take_layers
from workbench.fused.teacher_weights import TeacherWeights, empty_teacher


@dataclass(frozen=True, slots=True)
class TeacherOutput:
    """Output of one forward.

    Attributes:
        logits: `[R, V]`, or the last row only, `[1, V]`.
        features: Tapped rows side by side, `[R, F]`; F is 0 without taps.
        routing: Which experts worked, layer by layer; empty for a model without.
    """

    logits: Tensor
    features: Tensor
    routing: Sequence[LayerRouting] = ()


class Teacher:
    """A causal language model that reports features and takes its mask in the device's form.

    Attributes:
        windows: Attention window of each layer in tokens, 0 for none.
        num_layers: Layers of the model, and of its cache.
        layers: Of the model.
        products: Its products, in the order of a forward; products by group of experts are not among them.
    """

    def __init__(
        self,
        config: TeacherConfig,
        weights: Mapping[str, Tensor],
        taps: Taps,
        operators: Operators,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.windows = config.windows
        self.num_layers = config.num_layers
        self._taps = taps
        self._operators = operators
        self._dtype = dtype
        if not all(0 <= layer <= self.num_layers for layer in taps.layers):
            raise CheckpointError(
                f"tapped layers should be in 0 to {self.num_layers}, the drafter asks for {list(taps.layers)}"
            )
        model: Any = _load(config, weights, device, dtype)
        self._embedding: Tensor = model.model.embed_tokens.weight.detach()
        self._rotary = _rotary(config, device)
        num_before = len(operators.products.made)
        self.layers = take_layers(model.model, operators)
        self._norm = RmsNorm(model.model.norm, operators)
        self._head = operators.products.of(model.lm_head.weight.detach())
        self.products = operators.products.made[num_before:]

    def forward(
        self,
        token_ids: Tensor,
        position_ids: Tensor,
        cache: RowCache,
        call: AttentionCall,
        *,
        blocked: Mapping[int, Tensor] | None = None,
        pages: Pages | None = None,
        last_only: bool = False,
    ) -> TeacherOutput:
        """Run R rows; their keys and values are appended to `cache`.

        Args:
            token_ids: int64 `[R]` on the teacher's device.
            position_ids: Rotary positions, int64 `[R]`.
            cache: Extended in place.
            call: How attention runs; learns what it was given.
            blocked: Masks by the window of a layer, each bool `[1, 1, R, width]`, True is left out,
                `cache.mask_width(R)` wide; a layer whose window has none is run as `call.causal` says.
            pages: How a paged cache is reached; by its own table and next slots when None.
            last_only: Logits of the last row only.
        """
        call.pages = cache.pages(len(token_ids)) if pages is None else pages
        hidden = embedded = functional.embedding(token_ids[None], self._embedding)
        tables = self._operators.rotary_tables(self._rotary.tables(position_ids, self._dtype))
        masks = blocked or {}
        entering: dict[int, Tensor] = {}
        for number, (layer, window) in enumerate(zip(self.layers, self.windows, strict=True)):
            entering[number] = hidden
            hidden = layer(hidden, tables, masks.get(window), cache, call)
        entering[self.num_layers] = hidden
        final = self._norm(hidden)
        logits = self._head(final[:, -1:] if last_only else final)
        features = self._features(entering, final)
        if call.seen is not None:
            call.seen(token_ids=token_ids, position_ids=position_ids, embedding=embedded)
            call.seen(final_norm=final, features=features, logits=logits)
        return TeacherOutput(logits[0], features[0], tuple(call.routing))

    def _features(self, entering: Mapping[int, Tensor], final: Tensor) -> Tensor:
        """Return the tapped rows side by side, `[1, R, F]`.

        Args:
            entering: What entered each layer; at `num_layers` what entered the final norm.
            final: What left it.
        """
        tapped = [entering[layer] for layer in self._taps.layers]
        tapped += [final] if self._taps.final_hidden else []
        return torch.cat(tapped, dim=-1) if tapped else final[..., :0]


def _rotary(config: TeacherConfig, device: torch.device) -> Rotary:
    if config.rope.kind == PLAIN:
        return Rotary.plain(own_theta(config), config.head_dim, device)
    return Rotary.of(build_config(config), config.rope.kind, device)


def _load(
    config: TeacherConfig, weights: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
) -> TeacherWeights:
    """Return the places with `weights` in them; tensors already there are shared, never copied or written."""
    require_known(config)
    model = empty_teacher(config, dtype)
    if config.experts is not None:
        place_experts(model, config.experts, dtype)
    if config.quantisation is not None:
        weights = put_in_place(model, weights, config.quantisation, device)
    placed = {key: tensor.detach().to(device=device, dtype=dtype) for key, tensor in weights.items()}
    try:
        model.load_state_dict(placed, strict=True, assign=True)
    except RuntimeError as problem:
        problems = " ".join(str(problem).split())[:300]
        raise CheckpointError(f"teacher weights do not fit their configuration: {problems}") from problem
    return model.requires_grad_(requires_grad=False)
