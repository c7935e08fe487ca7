"""What every key of config.json that is known to matter means here: read, fixed at one value, or a label.

A key that the code reads is checked where it is read. A fixed key changes the arithmetic of some reader and
has one value here; another one is refused. A label changes nothing that is computed. Null and absence are
the default of every key. What is in no table is listed in the load report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tracing.errors import CheckpointError
from workbench.checkpoints.json_text import shown


@dataclass(frozen=True, slots=True)
class Fixed:
    """A key with one meaning here.

    Attributes:
        allowed: Values that mean what is computed here; none for a key that must not be there at all.
        effect: What another value would change.
    """

    allowed: tuple[bool | int | float | str, ...]
    effect: str


@dataclass(frozen=True, slots=True)
class KeyTable:
    """The keys of one kind of object.

    Attributes:
        read: Keys that the loader reads and checks.
        fixed: Keys with one meaning here.
        labels: Keys without effect.
    """

    read: frozenset[str]
    fixed: Mapping[str, Fixed]
    labels: frozenset[str]


LABEL_PATTERN: Final = re.compile(
    r"_.*|.*_(token|start|end|newline|pad|init|sep|bos|eos|mask)_(id|ids|index)|.*_dropout"
)
"""Names of token ids, of a trainer's own fields and of dropout, which is off in decoding."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BLOCK_READ: Final = _words(
    "architectures model_type hidden_size intermediate_size num_hidden_layers num_attention_heads "
    "num_key_value_heads head_dim vocab_size rms_norm_eps rope_theta rope_scaling rope_parameters "
    "partial_rotary_factor max_position_embeddings tie_word_embeddings attention_bias sliding_window "
    "use_sliding_window max_window_layers layer_types eos_token_id bias qkv_bias"
)
_ACTIVATION: Final = Fixed(("silu", "swish"), "another activation in the MLP")
_SCALE: Final = "a scale on what is computed here without one"
_BLOCK_FIXED: Final[Mapping[str, Fixed]] = {
    "hidden_act": _ACTIVATION,
    "hidden_activation": _ACTIVATION,
    "quantization_config": Fixed((), "quantised weights; only unquantised ones are supported"),
    "compression_config": Fixed((), "compressed weights; only plain ones are supported"),
    **dict.fromkeys(
        ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"),
        Fixed((), "multi-head latent attention"),
    ),
    **dict.fromkeys(
        ("logit_scale", "logits_scaling", "embedding_multiplier", "residual_multiplier", "scale_emb"),
        Fixed((1, 1.0), _SCALE),
    ),
    **dict.fromkeys(
        ("attention_multiplier", "query_pre_attn_scalar", "scale_depth", "dim_model_base"), Fixed((), _SCALE)
    ),
    "attn_logit_softcapping": Fixed((), "a cap on attention scores"),
    "final_logit_softcapping": Fixed((), "a cap on logits"),
    "attn_temperature_tuning": Fixed((False, 0), "attention scores that depend on the position"),
    "attention_sink": Fixed((False, 0), "attention to a sink"),
    "attn_output_gate": Fixed((False,), "a gate on the output of attention"),
    "clip_qkv": Fixed((), "clipped queries, keys and values"),
    "is_causal": Fixed((True,), "attention to later tokens"),
    "is_encoder_decoder": Fixed((False,), "another architecture"),
    "add_cross_attention": Fixed((False,), "another architecture"),
    "use_parallel_residual": Fixed((False,), "attention and MLP side by side"),
    "position_embedding_type": Fixed(("rope", "rotary", "absolute"), "another coding of positions"),
    "use_rotary_pos_emb": Fixed((True,), "no rotary embedding"),
    "rotary_pct": Fixed((1, 1.0), "a rotation of a part of the head"),
    "rotary_percent": Fixed((1, 1.0), "a rotation of a part of the head"),
    "rotary_dim": Fixed((), "a rotation of a part of the head"),
    "rope_interleaved": Fixed((False,), "pairs of neighbours in the rotation"),
    "rope_interleave": Fixed((False,), "pairs of neighbours in the rotation"),
    "no_rope_layers": Fixed((), "layers without rotary embedding"),
    "use_cla": Fixed((False,), "keys and values shared between layers"),
    "norm_type": Fixed(("rms", "rmsnorm", "RMSNorm"), "another norm"),
    "num_nextn_predict_layers": Fixed((0,), "prediction layers of its own"),
}  # fmt: skip
_BLOCK_LABELS: Final = _words(
    "torch_dtype dtype transformers_version initializer_range use_cache pretraining_tp attention_dropout "
    "auto_map bos_token_id pad_token_id add_bos_token add_eos_token output_attentions "
    "output_hidden_states return_dict id2label label2id problem_type finetuning_task task_specific_params "
    "tokenizer_class prefix is_decoder chunk_size_feed_forward cross_attention_hidden_size "
    "tie_encoder_decoder torchscript use_bfloat16 pruned_heads gradient_checkpointing "
    "vocab_size_per_layer_input original_max_position_embeddings resid_pdrop embd_pdrop max_length "
    "max_sequence_length model_max_length seq_length unsloth_version add_classification_head class_num "
    "pool_type pad_id eod_token_id org_vocab_size dense_list cla_share_factor im_start_id im_end_id "
    "im_newline_id text_start_id text_end_id mask_init_id modal_type target_model_type use_mrope "
    "decoder_sparse_step mlp_only_layers moe_intermediate_size norm_topk_prob num_experts "
    "num_experts_per_tok num_local_experts n_routed_experts n_shared_experts "
    "shared_expert_intermediate_size output_router_logits router_aux_loss_coef first_k_dense_replace "
    "moe_layer_freq n_group topk_group topk_method scoring_func routed_scaling_factor aux_loss_alpha "
    "seq_aux ep_size attn_implementation"
)
TEACHER: Final = KeyTable(
    _BLOCK_READ | {"mlp_bias", "quantization_config"},
    {key: fixed for key, fixed in _BLOCK_FIXED.items() if key != "quantization_config"},
    _BLOCK_LABELS,
)

_MOE_READ: Final = _words(
    "num_experts num_experts_per_tok moe_intermediate_size shared_expert_intermediate_size"
)
_EVERY_LAYER: Final = "layers without experts"
MOE_TEACHER: Final = KeyTable(
    TEACHER.read | _MOE_READ,
    {
        **TEACHER.fixed,
        "norm_topk_prob": Fixed((False,), "weights of the chosen experts divided by their sum"),
        "routed_scaling_factor": Fixed((1, 1.0), "a scale on what the experts give"),
        "scoring_func": Fixed(("softmax",), "another score of experts"),
        "topk_method": Fixed((), "another choice of experts"),
        "topk_group": Fixed((), "a choice of groups"),
        "n_group": Fixed((), "groups that are not one per chosen expert"),
        "mlp_only_layers": Fixed((), _EVERY_LAYER),
        "first_k_dense_replace": Fixed((0,), _EVERY_LAYER),
        "decoder_sparse_step": Fixed((1,), _EVERY_LAYER),
        "moe_layer_freq": Fixed((1,), _EVERY_LAYER),
    },
    TEACHER.labels,
)
"""Of a teacher with experts in groups."""

_TAPS: Final = Fixed((3,), "another number of tapped teacher layers; the drafters here have three")
_EAGLE_READ: Final = _words(
    "eagle_aux_hidden_state_layer_ids aux_hidden_state_layer_ids norm_before_residual norm_before_fc fc_norm "
    "norm_output"
)
_EAGLE_FIXED: Final[Mapping[str, Fixed]] = {
    "use_aux_hidden_state": Fixed((True,), "a drafter that reads the final hidden state alone"),
    "num_aux_hidden_states": _TAPS,
    "num_eagle_features": _TAPS,
    "use_input_layernorm_in_first_layer": Fixed((True,), "no norm on the embedding"),
    "use_last_layernorm": Fixed((True,), "no norm before the head"),
    "use_mtp_layernorm": Fixed((False,), "a norm of its own on the features"),
    "next_layer_regular": Fixed((True,), "another second layer"),
    "has_lm_head": Fixed((True,), "no head of its own"),
    "parallel_draft_step": Fixed((0, 1), "several tokens drafted at once"),
    "eagle_decoder_type": Fixed(("llama",), "another block"),
    **dict.fromkeys(
        ("target_layer_ids", "target_hidden_layer_ids", "dflash_config", "mask_token_id", "block_size"),
        Fixed((), "a drafter of another kind (parallel blocks)"),
    ),
}  # fmt: skip
_EAGLE_LABELS: Final = _words("parallel_draft_heads_num_layers eagle_loss_decay_factor")
DRAFTER: Final = KeyTable(
    _BLOCK_READ
    | _EAGLE_READ
    | _words("draft_vocab_size target_hidden_size eagle_config use_qk_norm attention_head_dim"),
    {**_BLOCK_FIXED, **_EAGLE_FIXED, "mlp_bias": Fixed((False,), "biases in the MLP")},
    _BLOCK_LABELS | _EAGLE_LABELS | _words("target_vocab_size num_target_layers"),
)
EAGLE_BLOCK: Final = KeyTable(_EAGLE_READ, _EAGLE_FIXED, _EAGLE_LABELS)
SPECULATORS: Final = KeyTable(
    DRAFTER.read | {"speculators_model_type", "transformer_layer_config"},
    DRAFTER.fixed,
    DRAFTER.labels
    | _words("speculators_config speculators_version embed_requires_grad has_no_defaults_at_init"),
)


def audit(config: Mapping[str, Any], table: KeyTable, where: str = "") -> tuple[str, ...]:
    """Refuse a fixed key with another value; return the keys that the table does not know.

    Args:
        config: One object of config.json.
        table: Its keys.
        where: Name of the object, empty for the whole file.

    Raises:
        CheckpointError: Names the key, its value and what it would change.
    """
    return tuple(_unknown(config, table, where))


def _unknown(config: Mapping[str, Any], table: KeyTable, where: str) -> Iterator[str]:
    place = f"{where}." if where else ""
    for key, value in config.items():
        if value is None:
            continue
        fixed = table.fixed.get(key)
        if fixed is not None:
            if not any(_same(value, one) for one in fixed.allowed):
                raise CheckpointError(f"config.json: {place}{key} is {shown(value)}{_instead(fixed)}")
        elif not _is_known(key, table) and value not in (False, "", [], {}):
            yield f"{place}{key if key.isprintable() and len(key) < 60 else shown(key)}"


def _instead(fixed: Fixed) -> str:
    only = f"; {' or '.join(map(repr, fixed.allowed))} is supported" if fixed.allowed else ""
    return f", which means {fixed.effect}{only}"


def _is_known(key: str, table: KeyTable) -> bool:
    return key in table.read or key in table.labels or LABEL_PATTERN.fullmatch(key) is not None


def _same(value: object, allowed: bool | int | float | str) -> bool:
    return isinstance(value, bool) == isinstance(allowed, bool) and value == allowed
