"""The official EAGLE code: its own Llama, greedy and with its tree drafted by an EAGLE-3 checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from workbench.bench.peers.workers.wire import Opened

PACKAGES: Final = ("torch", "transformers")
TREE: Final = {"total_token": 12, "depth": 4, "top_k": 4}


def open_engine(asked: Mapping[str, Any]) -> Opened:
    """Load the pair into the official model."""
    import torch
    from eagle.model.ea_model import EaModel

    torch.set_num_threads(asked["threads"])
    dtype = getattr(torch, asked["dtype"])
    model = EaModel.from_pretrained(
        use_eagle3=True,
        base_model_path=_indexed(Path(asked["teacher"])),
        ea_model_path=asked["drafter"],
        torch_dtype=dtype,
        **TREE,
    )
    model.eval()
    num_biases = _take_biases(model.base_model, asked["teacher"], dtype)
    decode = model.eagenerate if asked["mode"] == "tree" else model.naivegenerate
    ends = set(asked["eos_token_ids"])

    @torch.inference_mode()
    def generate(prompt: Sequence[int], max_new_tokens: int) -> list[int]:
        made = decode(
            torch.tensor([list(prompt)]),
            temperature=0.0,
            max_new_tokens=max_new_tokens - 1,  # it stops when it has more than it was asked for
            max_length=asked["max_len"],
        )
        text = [int(token) for token in made[0, len(prompt) :].tolist()][:max_new_tokens]
        end = next((place for place, token in enumerate(text) if token in ends), len(text))
        return text[: end + 1]

    settings = {"threads": torch.get_num_threads(), "dtype": asked["dtype"], "biases_given": num_biases}
    return generate, settings | (TREE if asked["mode"] == "tree" else {})


def _indexed(teacher: Path) -> str:
    """Return the teacher's folder with an index of its weights, without which the embedding is not found."""
    from safetensors import safe_open

    name = "model.safetensors.index.json"
    if (teacher / name).exists():
        return str(teacher)
    folder = teacher.parent / "teacher_indexed"
    folder.mkdir(exist_ok=True)
    weights: dict[str, str] = {}
    for file in teacher.iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file)
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                weights |= dict.fromkeys(opened.keys(), file.name)
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    return str(folder)


def _take_biases(model: Any, folder: str, dtype: Any) -> int:
    """Give the attention its biases, which the official Llama has not; returns how many."""
    import torch
    from safetensors.torch import load_file

    modules, found = dict(model.named_modules()), 0
    for file in sorted(Path(folder).glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            owner, _, last = name.rpartition(".")
            linear: Any = modules.get(owner)
            if last == "bias" and linear is not None and getattr(linear, "bias", 0) is None:
                linear.bias = torch.nn.Parameter(tensor.to(dtype), requires_grad=False)
                found += 1
    return found
