"""What crosses from checkpoints to a path: plain data, no modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

Tensor = Any
"""A torch tensor; typed loosely because this package never imports torch."""


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Rotary embedding of one model (rotate-half convention, applied to the whole head).

    Attributes:
        theta: Base of the frequencies.
        kind: `default`, `linear`, `llama3`, `dynamic` or `yarn`.
        parameters: Further keys of the checkpoint's `rope_parameters` / `rope_scaling`.
    """

    theta: float
    kind: str = "default"
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How linear layers are stored in int4: `KEY.packed`, `KEY.scale`, `KEY.offset` in place of `KEY.weight`.

    Attributes:
        layout: Who ships it so: `compressed-tensors`, `gptq`, `awq` or `npu`; see docs/weights.md.
        group_size: Numbers along the summed axis that share a scale, 0 for all of them.
    """

    layout: str
    group_size: int = 0


@dataclass(frozen=True, slots=True)
class Experts:
    """Experts in the place of every layer's MLP, in groups of equal size; each token gets one of each group.

    The scores of a token are the softmax over all experts. The best of a group, of equals the first, works on
    the token; its score times the router's scale of that expert weighs what it gives, without renormalising.
    What the shared expert gives is added.

    Attributes:
        num_experts: Experts of a layer, without the shared one.
        num_groups: Groups, and so experts per token.
        width: Inner size of an expert.
        shared_width: Inner size of the shared expert.
    """

    num_experts: int
    num_groups: int
    width: int
    shared_width: int

    @property
    def group_size(self) -> int:
        """Experts of a group."""
        return self.num_experts // self.num_groups


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """A pre-norm decoder-only teacher: RMSNorm, GQA, RoPE, SwiGLU (Llama, Qwen2, Qwen3, Mistral, Pangu).

    Attributes:
        model_type: As in config.json, e.g. `llama`, `qwen2`, `qwen3`, `mistral`, `PanguEmbedded`.
        qkv_bias, o_bias, mlp_bias: Which linear layers have a bias.
        qk_norm: RMSNorm over the head dim of q and k before rotary (Qwen3).
        sliding_window: Attention window in tokens, None for full attention.
        windowed_layers: Layers that have the window; None for all of them.
        hf_config: The whole config.json, for a path that builds a transformers model from it.
        quantisation: How the layers' linear weights are stored, None for plain ones.
        experts: What every layer has in place of the MLP, None for a dense model.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    rope: RopeConfig
    max_position_embeddings: int
    tie_word_embeddings: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    sliding_window: int | None = None
    windowed_layers: tuple[int, ...] | None = None
    hf_config: Mapping[str, Any] = field(default_factory=dict)
    quantisation: Quantisation | None = None
    experts: Experts | None = None

    @property
    def windows(self) -> tuple[int, ...]:
        """Attention window of each layer in tokens, 0 for none."""
        layers = range(self.num_layers)
        chosen = frozenset(layers if self.windowed_layers is None else self.windowed_layers)
        return tuple((self.sliding_window or 0) if layer in chosen else 0 for layer in layers)


@dataclass(frozen=True, slots=True)
class Taps:
    """Teacher rows that a drafter reads; side by side, in this order, they are its features.

    Attributes:
        layers: Residual stream that *enters* these layers, low to high; layer 0 is the first block, and
            `num_layers` is what enters the final norm.
        final_hidden: What leaves the final norm, the input of the teacher's head.
    """

    layers: tuple[int, ...] = ()
    final_hidden: bool = False

    def width(self, hidden_size: int) -> int:
        """Return F, the width of the features; 0 without taps."""
        return (len(self.layers) + self.final_hidden) * hidden_size


@dataclass(frozen=True, slots=True)
class DrafterConfig:
    """An EAGLE-3 drafter, normalised from the official, SpecForge or speculators layout.

    Attributes:
        hidden_size: Width of the drafter; `fc.weight` is `[hidden_size, 3 * target_hidden_size]`.
        draft_vocab_size: Vd, rows of the drafter's own head.
        aux_layers: Three teacher layer numbers; the feature is the residual stream that *enters*
            that layer (official convention; layer 0 is the first block).
        norm_before_residual: The residual of the attention block is the *normed* feature.
        norm_output: The feature handed to the next draft step is the normed one (`norm.weight`).
        fc_norm: RMSNorm per tapped feature before `fc` (`fc_norm.{0,1,2}.weight`).
        norm_before_fc: One RMSNorm over the concatenated features (`input_norm.weight`).
        qk_norm: RMSNorm over head dim of q and k (qwen3 inner config).
        qkv_bias, o_bias: Which attention projections have a bias.
        window: Attention window in tokens that the checkpoint asks for, 0 for none.
    """

    hidden_size: int
    target_hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    rope: RopeConfig
    vocab_size: int
    draft_vocab_size: int
    aux_layers: tuple[int, int, int]
    max_position_embeddings: int = 2048
    norm_before_residual: bool = False
    norm_output: bool = False
    fc_norm: bool = False
    norm_before_fc: bool = False
    qk_norm: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    window: int = 0

    @property
    def taps(self) -> Taps:
        """Teacher rows that this drafter reads."""
        return Taps(layers=self.aux_layers)


@dataclass(frozen=True, slots=True)
class MedusaConfig:
    """Medusa heads over the teacher's final hidden state: head i is for the token i + 1 behind the root.

    Attributes:
        hidden_size: Of the teacher.
        num_heads, num_layers: Heads, and residual blocks `x + silu(W x + b)` of each.
        draft_vocab_size: Vd, rows of a head's output; fewer than the teacher's with a token map.
        shared_head: All heads end in `lm_head.weight`; else head i ends in `lm_heads.{i}.weight`.
        logit_scale: Factor on the logits.
    """

    hidden_size: int
    num_heads: int
    num_layers: int
    draft_vocab_size: int
    shared_head: bool = False
    logit_scale: float = 1.0

    @property
    def taps(self) -> Taps:
        """Teacher rows that the heads read."""
        return Taps(final_hidden=True)

    def head(self, number: int) -> str:
        """Return the canonical name of the last layer of a head."""
        return "lm_head" if self.shared_head else f"lm_heads.{number}"


MEDUSA_KEYS: Final = (
    "blocks.{i}.layers.{l}.{weight,bias}",
    "lm_heads.{i}.weight",
    "lm_head.weight",
)
"""Canonical Medusa keys, those of vLLM; `lm_head.weight` is that of all heads where they share one."""

AnyDrafterConfig = Any
"""Configuration of one kind of drafter; typed loosely because only drafters of that kind read it. Its `taps`,
if it has some, state what it reads of the teacher; a kind without checkpoint may have None."""

TEACHER_KEYS: Final = (
    "model.embed_tokens.weight",
    "model.layers.{i}.input_layernorm.weight",
    "model.layers.{i}.self_attn.{q,k,v,o}_proj.{weight,bias}",
    "model.layers.{i}.self_attn.{q,k}_norm.weight",
    "model.layers.{i}.post_attention_layernorm.weight",
    "model.layers.{i}.mlp.{gate,up,down}_proj.{weight,bias}",
    "model.layers.{i}.mlp.gate.weight",
    "model.layers.{i}.mlp.router_scale",
    "model.layers.{i}.mlp.experts.{e}.{gate,up,down}_proj.weight",
    "model.layers.{i}.mlp.shared_expert.{gate,up,down}_proj.weight",
    "model.norm.weight",
    "lm_head.weight",
)
"""Canonical teacher keys; `lm_head.weight` is always present (the embedding itself when tied).

A quantised layer has, as shipped, `.packed` (int32 words), `.scale`, perhaps `.offset`, and no `.weight`."""

DRAFTER_KEYS: Final = (
    "embed_tokens.weight",
    "fc.weight",
    "fc_norm.{0,1,2}.weight",
    "input_norm.weight",
    "midlayer.hidden_norm.weight",
    "midlayer.input_layernorm.weight",
    "midlayer.self_attn.{q,k,v,o}_proj.{weight,bias}",
    "midlayer.self_attn.{q,k}_norm.weight",
    "midlayer.post_attention_layernorm.weight",
    "midlayer.mlp.{gate,up,down}_proj.weight",
    "norm.weight",
    "lm_head.weight",
)
"""Canonical drafter keys; `embed_tokens.weight` is always present (the teacher's when not shipped)."""


class Tokenizer(Protocol):
    """What a path's caller needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Return token ids with the tokenizer's default special tokens."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return text; never fails on ids inside the vocabulary."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """Return the raw bytes of one token (may be invalid UTF-8)."""
        ...


@dataclass(frozen=True, slots=True)
class ModelPair:
    """A teacher and a drafter as plain data, both paths' only view of a checkpoint.

    Attributes:
        teacher: Teacher configuration.
        teacher_weights: Tensors under `TEACHER_KEYS`, in the checkpoint's dtype, read-only by agreement.
        drafter: Configuration of the drafter: `DrafterConfig` of `eagle3`, a second teacher's, that of heads;
            None where there is nothing to configure.
        drafter_weights: Its tensors, under `DRAFTER_KEYS` for `eagle3`; empty where there are none.
        target_from_draft: int64 `[Vd]`, the target token id of each draft token id (absolute); None where
            the drafter's vocabulary is the teacher's.
        eos_token_ids: Tokens that end a turn; may be empty.
        proposer: Kind of the drafter, out of `tracing.settings.PROPOSERS`.
    """

    teacher: TeacherConfig
    teacher_weights: Mapping[str, Tensor]
    drafter: AnyDrafterConfig = None
    drafter_weights: Mapping[str, Tensor] = field(default_factory=dict)
    target_from_draft: Tensor = None
    eos_token_ids: frozenset[int] = frozenset()
    proposer: str = "eagle3"

    @property
    def taps(self) -> Taps:
        """Teacher rows that the drafter reads."""
        return getattr(self.drafter, "taps", None) or Taps()

    @property
    def feature_width(self) -> int:
        """F, the width of the features; 0 where the drafter reads none."""
        return self.taps.width(self.teacher.hidden_size)
