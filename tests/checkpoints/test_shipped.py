"""What ships with the package is there, whole, in the formats of real models, and gives known-good output."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from workbench.checkpoints.load import LoadedPair, load_pair
from workbench.checkpoints.shipped import (
    DRAFTERS,
    PROMPTS,
    held_out_prompts,
    shipped_pair_dirs,
    shipped_prompt,
)
from workbench.lockstep.session.request import pair_directories

MAX_BYTES = 50_000_000


@pytest.fixture(scope="module")
def shipped() -> LoadedPair:
    return load_pair(*shipped_pair_dirs())


def test_the_pair_loads_without_a_single_warning(shipped: LoadedPair) -> None:
    assert shipped.report.status == "ok"
    assert shipped.report.teacher.layout == "PanguEmbedded"
    assert shipped.report.drafter.layout == "official"
    assert shipped.report.teacher.dtypes == {"float16": 211}
    assert shipped.pair.drafter.aux_layers == (2, 8, 13)
    assert not shipped.pair.drafter.qkv_bias  # the official layout has none
    assert shipped.pair.eos_token_ids == {2}


def test_it_is_small_and_the_card_names_every_file() -> None:
    directory = shipped_pair_dirs()[0].parent
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES
    card = (directory / "README.md").read_text(encoding="utf-8")
    for path in files:
        own = path.parent / "README.md"
        text = own.read_text(encoding="utf-8") if own.exists() else card
        if path.name != "README.md":
            assert hashlib.sha256(path.read_bytes()).hexdigest() in text, path
    assert "PSF" in card


@pytest.mark.parametrize(("proposer", "most"), [("medusa", 6_000_000), ("draft_model", 3_000_000)])
def test_the_further_drafters_load_without_a_warning_and_are_small(
    shipped: LoadedPair, proposer: str, most: int
) -> None:
    teacher, drafter = shipped_pair_dirs(proposer)
    loaded = load_pair(teacher, drafter, proposer=proposer)
    assert loaded.report.status == "ok"
    assert loaded.digests.teacher_weights == shipped.digests.teacher_weights
    assert sum(path.stat().st_size for path in drafter.iterdir() if path.suffix != ".md") < most


@pytest.mark.parametrize("proposer", DRAFTERS)
def test_without_directories_each_kind_is_the_shipped_one(proposer: str) -> None:
    assert pair_directories(None, None, proposer) == shipped_pair_dirs(proposer)
    assert shipped_pair_dirs(proposer)[1].name == DRAFTERS[proposer]


def test_five_heads_over_the_most_frequent_tokens() -> None:
    pair = load_pair(*shipped_pair_dirs("medusa"), proposer="medusa").pair
    assert (pair.drafter.num_heads, pair.drafter.draft_vocab_size) == (5, 2048)
    assert pair.target_from_draft is not None
    assert (pair.target_from_draft.diff() > 0).all()


KNOWN_GOOD = {
    "code.txt": "for_waiting = True\n    return t\n\n\ndef _get_",
    "prose.txt": '\n        of the linear patterns.\n        """\n        if not self.is',
}
"""What the training code's own model wrote, 16 tokens each, float32 over the rounded weights."""


def greedy(model: torch.nn.Module, token_ids: list[int], num_tokens: int) -> list[int]:
    """Plain greedy decoding without a cache."""
    sequence = list(token_ids)
    with torch.no_grad():
        for _ in range(num_tokens):
            sequence.append(int(model(input_ids=torch.tensor([sequence])).logits[0, -1].argmax()))
    return sequence[len(token_ids) :]


def test_known_good_output_by_transformers_alone(shipped: LoadedPair) -> None:
    """transformers' own Llama over the files, none of our code between: catches key mapping, rope, biases."""
    import transformers
    from safetensors.torch import load_file
    from transformers import PreTrainedTokenizerFast

    teacher_dir = shipped_pair_dirs()[0]
    config = json.loads((teacher_dir / "config.json").read_text(encoding="utf-8"))
    keys = ("architectures", "model_type", "bias", "torch_dtype")
    llama = transformers.LlamaConfig(
        attention_bias=True, **{key: value for key, value in config.items() if key not in keys}
    )
    model = transformers.LlamaForCausalLM(llama).eval()
    weights = {name: tensor.float() for name, tensor in load_file(teacher_dir / "model.safetensors").items()}
    missing = model.load_state_dict(weights, strict=False)
    assert missing.missing_keys in ([], ["lm_head.weight"])
    assert missing.unexpected_keys == []
    model.tie_weights()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(teacher_dir), local_files_only=True)
    for name, expected in KNOWN_GOOD.items():
        text = shipped_prompt(name).read_text(encoding="utf-8")
        token_ids = tokenizer.encode(text)
        assert token_ids == shipped.tokenizer.encode(text)
        assert tokenizer.decode(greedy(model, token_ids, 16)) == expected


def test_the_prompts(shipped: LoadedPair) -> None:
    texts = {name: shipped_prompt(name).read_text(encoding="utf-8") for name in PROMPTS}
    assert len(shipped.tokenizer.encode(texts["long.txt"])) > 600
    two_turns = json.loads(texts["two_turns.jsonl"])
    assert two_turns["prompt"]
    assert len(two_turns["turns"]) == 1
    assert all(texts[name].strip() for name in PROMPTS)


def test_held_out_prompts_are_half_code_half_prose_and_held_out(shipped: LoadedPair) -> None:
    prompts = held_out_prompts()
    assert len(prompts) >= 48
    kinds = [prompt.kind for prompt in prompts]
    assert kinds.count("code") == kinds.count("prose") == len(prompts) // 2
    assert len({prompt.id for prompt in prompts}) == len({prompt.text for prompt in prompts}) == len(prompts)
    for prompt in prompts:
        assert int(hashlib.sha256(prompt.source.encode()).hexdigest(), 16) % 40 == 0
        assert 90 <= len(shipped.tokenizer.encode(prompt.text)) <= 100


def test_missing_package_data_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tracing.errors import ModelMissingError
    from workbench.checkpoints import shipped as module

    monkeypatch.setattr(module, "files", lambda _package: tmp_path)
    with pytest.raises(ModelMissingError, match="install it again") as caught:
        shipped_pair_dirs()
    assert caught.value.exit_code == 3
