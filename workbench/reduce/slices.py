"""Which rows and columns of a tensor belong to heads, layers, words; a pair with some left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from reference.quantised import with_plain_weights
from tracing.models import DrafterConfig, MedusaConfig, ModelPair, TeacherConfig
from workbench.reduce.case import ModelCut, NetworkCut

Index = Mapping[str, Tensor | None]
"""Axis to the places that are kept of it; None keeps all."""

_AXES: Final = tuple(
    (re.compile(pattern), axes)
    for pattern, axes in (
        (r"experts?(\.\d+)?\.(gate|up)_proj\.", (None, "hidden")),
        (r"experts?(\.\d+)?\.down_proj\.", ("hidden", None)),
        (r"mlp\.gate\.weight$", (None, "hidden")),
        (r"router_scale$", (None,)),
        (r"embed_tokens\.weight$", ("vocab", "hidden")),
        (r"lm_heads?\.(\d+\.)?weight$", ("scored", "hidden")),
        (r"q_proj\.", ("query", "entering")),
        (r"[kv]_proj\.", ("kv", "entering")),
        (r"o_proj\.", ("hidden", "query")),
        (r"(gate|up)_proj\.", ("width", "hidden")),
        (r"down_proj\.", ("hidden", "width")),
        (r"self_attn\.[qk]_norm\.weight$", (None,)),
        (r"^fc\.weight$", ("hidden", "taps")),
        (r"^fc_norm\.\d\.weight$", ("target",)),
        (r"^input_norm\.weight$", ("taps",)),
        (r"norm\.weight$", ("hidden",)),
        (r"^blocks\.\d+\.layers\.\d+\.", ("hidden", "hidden")),
    )
)
"""Pattern of a canonical name to its axes; of a bias the first one."""
_LAYER: Final = re.compile(r"^model\.layers\.(\d+)\.")
SIZES: Final = {
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
}
"""Field of a configuration to the key of config.json."""


def cut_pair(pair: ModelPair, cut: ModelCut) -> ModelPair:
    """Return a pair of which the rest is left out, both models consistently.

    Args:
        pair: The whole pair; its tensors are not changed.
        cut: What is kept; token ids of the result are places in `cut.vocab`.

    Raises:
        ValueError: Nothing is left of the draft vocabulary.
    """
    if cut == ModelCut():
        return pair
    if cut.plain and pair.teacher.quantisation is not None:
        pair = _dequantised(pair)
    vocab = None if cut.vocab is None else torch.tensor(cut.vocab)
    drafts, target_from_draft = _drafts(pair, vocab)
    teacher, drafter = pair.teacher, pair.drafter
    made = replace(
        pair,
        teacher=_decoder(teacher, cut.teacher, cut, vocab),
        teacher_weights=_taken(
            pair.teacher_weights, _index(teacher, cut.teacher, cut, vocab, vocab), cut.teacher
        ),
        drafter=_drafter(pair, cut, vocab, drafts),
        drafter_weights={},
        target_from_draft=target_from_draft,
        eos_token_ids=_renumbered(pair.eos_token_ids, vocab),
    )
    if drafter is not None:
        scored = vocab if isinstance(drafter, TeacherConfig) else drafts
        index = _index(drafter, cut.drafter, cut, vocab, scored, target_size=teacher.hidden_size)
        made = replace(made, drafter_weights=_taken(pair.drafter_weights, index, cut.drafter))
    return made if cut.seed is None else _random(made, cut.seed)


def _dequantised(pair: ModelPair) -> ModelPair:
    plain = with_plain_weights(pair.teacher_weights, pair.teacher.quantisation, torch.float32)
    own = {key: value for key, value in pair.teacher.hf_config.items() if key != "quantization_config"}
    return replace(
        pair, teacher=replace(pair.teacher, quantisation=None, hf_config=own), teacher_weights=dict(plain)
    )


def _drafts(pair: ModelPair, vocab: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return which rows of the drafter's head are kept, and the map of those in the new numbers."""
    held = pair.target_from_draft
    if held is None or vocab is None:
        return (vocab if held is None else None), held
    targets = torch.as_tensor(held)
    kept = torch.isin(targets, vocab).nonzero().flatten()
    if not len(kept):
        raise ValueError("no word of the drafter is left")
    return kept, torch.searchsorted(vocab, targets[kept])


def _renumbered(token_ids: frozenset[int], vocab: Tensor | None) -> frozenset[int]:
    if vocab is None:
        return token_ids
    places = {int(token): place for place, token in enumerate(vocab.tolist())}
    return frozenset(places[token] for token in token_ids if token in places)


def _decoder(config: TeacherConfig, own: NetworkCut, cut: ModelCut, vocab: Tensor | None) -> TeacherConfig:
    sizes = _sizes(config, own, cut, vocab)
    layers = range(config.num_layers) if own.layers is None else own.layers
    sizes["num_layers"] = len(layers)
    keys = {SIZES[name]: size for name, size in sizes.items()}
    windowed = config.windowed_layers
    if windowed is not None:
        windowed = tuple(place for place, layer in enumerate(layers) if layer in windowed)
    hf_config = {key: keys.get(key, value) for key, value in config.hf_config.items()}
    return replace(config, **sizes, windowed_layers=windowed, hf_config=hf_config)


def _sizes(config: Any, own: NetworkCut, cut: ModelCut, vocab: Tensor | None) -> dict[str, Any]:
    kv_heads = config.num_kv_heads if own.kv_heads is None else len(own.kv_heads)
    group = own.group or config.num_heads // config.num_kv_heads
    return {
        "num_heads": kv_heads * group,
        "num_kv_heads": kv_heads,
        "hidden_size": cut_hidden(config.hidden_size, cut),
        "intermediate_size": min(own.width or config.intermediate_size, config.intermediate_size),
        "vocab_size": config.vocab_size if vocab is None else len(vocab),
    }


def cut_hidden(size: int, cut: ModelCut) -> int:
    """Return what is left of a residual stream."""
    return size if cut.hidden is None else min(size, cut.hidden)


def _drafter(pair: ModelPair, cut: ModelCut, vocab: Tensor | None, drafts: Tensor | None) -> Any:
    config: Any = pair.drafter
    num_drafts = getattr(config, "draft_vocab_size", 0) if drafts is None else len(drafts)
    if isinstance(config, TeacherConfig):
        return _decoder(config, cut.drafter, cut, vocab)
    if isinstance(config, MedusaConfig):
        hidden = cut_hidden(config.hidden_size, cut)
        return replace(config, hidden_size=hidden, draft_vocab_size=num_drafts)
    if isinstance(config, DrafterConfig):
        return replace(
            config,
            **_sizes(config, cut.drafter, cut, vocab),
            target_hidden_size=cut_hidden(config.target_hidden_size, cut),
            draft_vocab_size=num_drafts,
            aux_layers=_taps(config.aux_layers, cut.teacher.layers),
        )
    return config


def _taps(layers: tuple[int, int, int], kept: tuple[int, ...] | None) -> tuple[int, int, int]:
    """Return which layers the same rows enter when only some are left."""
    if kept is None:
        return layers
    first, second, third = (sum(each < layer for each in kept) for layer in layers)
    return first, second, third


@dataclass(frozen=True, slots=True)
class _Heads:
    """Rows of the projections of the heads that are kept."""

    query: Tensor | None = None
    kv: Tensor | None = None

    @classmethod
    def of(cls, config: Any, own: NetworkCut) -> _Heads:
        if own.kv_heads is None and own.group is None:
            return cls()
        size, lanes = config.num_heads // config.num_kv_heads, torch.arange(config.head_dim)
        heads = torch.tensor(range(config.num_kv_heads) if own.kv_heads is None else own.kv_heads)
        asking = (heads[:, None] * size + torch.arange(own.group or size)).flatten()
        kv = (heads[:, None] * config.head_dim + lanes).flatten()
        return cls((asking[:, None] * config.head_dim + lanes).flatten(), kv)


def _index(
    config: Any,
    own: NetworkCut,
    cut: ModelCut,
    vocab: Tensor | None,
    scored: Tensor | None,
    *,
    target_size: int = 0,
) -> Index:
    size = config.hidden_size
    hidden = None if cut.hidden is None or cut.hidden >= size else torch.arange(cut.hidden)
    index: dict[str, Tensor | None] = {"vocab": vocab, "scored": scored, "hidden": hidden, "entering": hidden}
    if isinstance(config, MedusaConfig):
        return index
    heads = _Heads.of(config, own)
    width = None if own.width is None else torch.arange(min(own.width, config.intermediate_size))
    index |= {"query": heads.query, "kv": heads.kv, "width": width}
    if isinstance(config, DrafterConfig):
        target = torch.arange(cut_hidden(target_size, cut))
        index["target"], index["taps"] = target, torch.cat([target + part * target_size for part in range(3)])
        if hidden is not None:
            index["entering"] = torch.cat([hidden, hidden + size])
    return index


def _taken(weights: Mapping[str, Any], index: Index, own: NetworkCut) -> dict[str, Tensor]:
    """Return what is kept of the tensors of a network, layers renumbered."""
    places = None if own.layers is None else {layer: place for place, layer in enumerate(own.layers)}
    taken: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        layer = _LAYER.match(name)
        renamed = name
        if layer is not None and places is not None:
            if int(layer[1]) not in places:
                continue
            renamed = f"model.layers.{places[int(layer[1])]}.{name[layer.end() :]}"
        kept = torch.as_tensor(tensor)
        for axis, kind in enumerate(_axes_of(name)[: kept.ndim]):
            chosen = None if kind is None else index.get(kind)
            if chosen is not None:
                kept = kept.index_select(axis, chosen.to(kept.device))
        taken[renamed] = kept
    return taken


def _axes_of(name: str) -> tuple[str | None, ...]:
    if name.endswith((".packed", ".scale", ".offset")):
        return ()
    return next((axes for pattern, axes in _AXES if pattern.search(name)), ())


def _random(pair: ModelPair, seed: int) -> ModelPair:
    random = torch.Generator().manual_seed(seed)
    return replace(
        pair,
        teacher_weights=_drawn(pair.teacher_weights, random),
        drafter_weights=_drawn(pair.drafter_weights, random),
    )


def _drawn(weights: Mapping[str, Tensor], random: torch.Generator) -> dict[str, Tensor]:
    """Return random tensors of the same shapes; what a layer gives is about as large as its input."""
    drawn: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        noise = torch.randn(tensor.shape, generator=random)
        if name.endswith("embed_tokens.weight"):
            values = noise
        elif tensor.ndim == 2:
            values = noise * tensor.shape[1] ** -0.5
        else:
            values = 0.1 * noise if name.endswith("bias") else 1.0 + 0.05 * noise
        drawn[name] = values.to(tensor.dtype)
    return drawn
