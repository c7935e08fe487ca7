"""Hugging Face `generate`: greedy, prompt lookup, assisted by a draft model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from workbench.bench.peers.workers.wire import Opened

PACKAGES: Final = ("torch", "transformers")


def open_engine(asked: Mapping[str, Any]) -> Opened:
    """Load the teacher, and the draft model where it assists."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(asked["threads"])
    dtype = getattr(torch, asked["dtype"])

    def loaded(folder: str) -> Any:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
        return model.eval()

    model = loaded(asked["teacher"])
    more: dict[str, Any] = {}
    if asked["mode"] == "lookup":
        more["prompt_lookup_num_tokens"] = asked["num_drafts"]
    elif asked["mode"] == "assisted":
        more["assistant_model"] = loaded(asked["draft_model"])

    @torch.inference_mode()
    def generate(prompt: Sequence[int], max_new_tokens: int) -> list[int]:
        ids = torch.tensor([list(prompt)])
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=asked["eos_token_ids"] or None,
            pad_token_id=0,
            **more,
        )
        return list(made[0, len(prompt) :].tolist())

    shown = {key: value for key, value in more.items() if key != "assistant_model"}
    settings = {"threads": torch.get_num_threads(), "dtype": asked["dtype"], "attention": "sdpa", **shown}
    return generate, settings
