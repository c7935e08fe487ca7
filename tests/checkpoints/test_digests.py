"""Digests name files and prove that weights were left alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from workbench.checkpoints.digests import weights_digest
from workbench.checkpoints.load import load_pair


def test_one_changed_bit_changes_the_digest(llama_dir: Path, draft_dir: Path) -> None:
    loaded = load_pair(llama_dir, draft_dir)
    before = loaded.digests.teacher_weights
    assert weights_digest(loaded.pair.teacher_weights) == before
    weights = dict(loaded.pair.teacher_weights)
    name = "model.layers.3.mlp.up_proj.weight"
    weights[name] = weights[name].clone()
    weights[name].view(torch.int32)[0, 0] ^= 1
    assert weights_digest(weights) != before


def test_swapped_tensors_and_other_dtypes_differ() -> None:
    """Catches a digest over bytes alone: equal bytes under other names, shapes or dtypes are not equal."""
    one, two = torch.zeros(2, 3), torch.ones(2, 3)
    digests = {
        weights_digest({"a": one, "b": two}),
        weights_digest({"a": two, "b": one}),
        weights_digest({"a": one.T.contiguous(), "b": two}),
        weights_digest({"a": one.view(torch.int32), "b": two}),
    }
    assert len(digests) == 4
    assert weights_digest({"a": two.T}) == weights_digest({"a": two.T.contiguous()})


def test_files_are_named_with_their_role(llama_dir: Path, draft_dir: Path) -> None:
    files = load_pair(llama_dir, draft_dir).digests.as_json()["files"]
    data = (draft_dir / "model.safetensors").read_bytes()
    assert files["drafter/model.safetensors"] == hashlib.sha256(data).hexdigest()
    assert {"teacher/config.json", "teacher/tokenizer.json", "drafter/config.json"} <= set(files)
