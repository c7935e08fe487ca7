"""Intermediates of `torch.nn` modules by their names: hooks while somebody asks, nothing otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final

from tracing.intermediates import Give

LLAMA: Final[Mapping[str, str]] = {
    "model.embed_tokens": "embedding",
    "model.layers.{}.input_layernorm": "layers.{}.input_norm",
    "model.layers.{}.self_attn.q_proj": "layers.{}.query_proj",
    "model.layers.{}.self_attn.k_proj": "layers.{}.key_proj",
    "model.layers.{}.self_attn.v_proj": "layers.{}.value",
    "model.layers.{}.self_attn.q_norm": "layers.{}.query_norm",
    "model.layers.{}.self_attn.k_norm": "layers.{}.key_norm",
    "model.layers.{}.self_attn.o_proj": "layers.{}.attention > layers.{}.attention_output",
    "model.layers.{}.post_attention_layernorm": "layers.{}.attended > layers.{}.mlp_norm",
    "model.layers.{}.mlp.gate_proj": "layers.{}.gate",
    "model.layers.{}.mlp.up_proj": "layers.{}.up",
    "model.layers.{}.mlp.down_proj": "layers.{}.activated > layers.{}.mlp_output",
    "model.layers.{}": "> layers.{}.output",
    "model.norm": "final_norm",
    "lm_head": "logits",
}
"""Modules of a Llama-like model of `transformers`: what leaves them, or `what enters > what leaves`."""


@contextmanager
def hooked(
    model: Any, give: Give, names: Mapping[str, str] = LLAMA, network: str = "teacher"
) -> Iterator[None]:
    """Give what enters and leaves the modules of a model while this is entered.

    Args:
        model: A `torch.nn.Module`.
        give: As `tracing.intermediates` says.
        names: Module name, `{}` for the number of a layer, to the name of what leaves it, or
            `entering > leaving` for both.
        network: `teacher` or `drafter`.
    """
    with ExitStack() as stack:
        for path, module in model.named_modules():
            numbers = re.findall(r"\.(\d+)(?=\.|\Z)", path)
            told = names.get(re.sub(r"\.\d+(?=\.|\Z)", ".{}", path))
            if told is None or len(numbers) > 1:
                continue
            number = numbers[0] if numbers else ""
            entering, _, leaving = told.replace("{}", number).rpartition(">")
            if entering.strip():
                enter = partial(_entering, give, f"{network}.{entering.strip()}")
                stack.callback(module.register_forward_pre_hook(enter).remove)
            leave = partial(_leaving, give, f"{network}.{leaving.strip()}")
            stack.callback(module.register_forward_hook(leave).remove)
        yield


def _entering(give: Give, name: str, _: Any, arguments: tuple[Any, ...]) -> None:
    if arguments:
        give(name, arguments[0])


def _leaving(give: Give, name: str, _: Any, __: Any, output: Any) -> None:
    give(name, output[0] if isinstance(output, tuple) else output)
