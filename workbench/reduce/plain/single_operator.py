"""The first tensor of the stage that its own operator does not give: that operator alone."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config, Weights
from workbench.reduce.plain.models import load_model
from workbench.reduce.plain.operators import attention, linear, mlp, norm, rotary, swiglu

LINEAR = {
    "query_proj": "self_attn.q_proj",
    "key_proj": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attention_output": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "mlp_output": "mlp.down_proj",
    "logits": "lm_head",
    "hidden_in": "fc",
}
NORM = {
    "input_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "query_norm": "self_attn.q_norm",
    "key_norm": "self_attn.k_norm",
    "embedding_norm": "midlayer.input_layernorm",
    "hidden_norm": "midlayer.hidden_norm",
}


def operator_expected(name: str, given: list[Tensor], own: torch.dtype, wide: torch.dtype) -> Tensor | None:
    """Return what an operator makes of its inputs; None for one that is not written out here.

    Args:
        name: Of its tensor, e.g. `teacher.layers.0.attention`.
        given: Its inputs, in order.
        own: Dtype of the path.
        wide: Dtype of this computation.
    """
    network, _, rest = name.partition(".")
    site, _, tensor = rest.rpartition(".")
    config, weights = load_model(network, own, wide)
    given = [each.to(wide) if each.is_floating_point() else each for each in given]
    if tensor in ("query", "key"):
        return rotary(given[0], given[1], config)
    if tensor == "attention":
        query, keys, values, visible = given
        return attention(query[-len(visible) :], keys, values, visible)
    if tensor == "activated":
        return swiglu(*given)
    if tensor == "input_norm" and len(given) == 2:
        return torch.cat(given, dim=-1)
    if len(given) == 2:  # the residual stream and what is added to it
        rows = min(map(len, given))
        return given[0][-rows:] + given[1][-rows:]
    return with_weights(site, tensor, given[0], weights, config)


def with_weights(site: str, tensor: str, x: Tensor, weights: Weights, config: Config) -> Tensor | None:
    """Return what an operator with weights makes of its one input."""
    prefix = {"layers": f"model.{site}.", "midlayer": "midlayer."}.get(site.partition(".")[0], "")
    outer = "model." if "model.norm.weight" in weights else ""
    if tensor == "embedding":
        return weights[f"{outer}embed_tokens.weight"][x.long()]
    if tensor == "final_norm":
        return norm(x, weights, f"{outer}norm", config)
    if tensor in NORM:
        return norm(x, weights, f"{prefix}{NORM[tensor]}", config)
    if tensor == "mlp_output" and config.get("experts"):
        return mlp(x, weights, f"{prefix}mlp", config)
    if tensor not in LINEAR or site.startswith("heads"):
        return None
    made = linear(x.flatten(1), weights, f"{prefix}{LINEAR[tensor]}")
    return made.view(len(x), -1, config["head_dim"]) if tensor in HEADED else made


HEADED = ("query_proj", "key_proj", "value")
