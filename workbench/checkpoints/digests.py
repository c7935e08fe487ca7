"""Digests of files and of loaded weights, so that a run can name its models and prove it left them alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
import xxhash

from tracing.files import open_regular
from workbench.checkpoints.files import weight_files

SMALL_FILES: Final = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class PairDigests:
    """Digests of a pair.

    Attributes:
        files: `teacher/NAME` or `drafter/NAME` to sha256 (hexadecimal).
        teacher_weights, drafter_weights: `weights_digest` of what was loaded.
    """

    files: dict[str, str]
    teacher_weights: str
    drafter_weights: str

    def as_json(self) -> dict[str, Any]:
        """Return plain data for the manifest."""
        return asdict(self)


def file_digest(path: Path) -> str:
    """Return the sha256 of a file."""
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def directory_digests(directory: Path, role: str) -> dict[str, str]:
    """Return the sha256 of the files of a model directory that a run depends on."""
    small = [directory / name for name in SMALL_FILES if (directory / name).is_file()]
    return {f"{role}/{path.name}": file_digest(path) for path in [*small, *weight_files(directory)]}


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """Return xxh3_128 over names, dtypes, shapes and bytes of tensors, in order of name."""
    digest = xxhash.xxh3_128()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
