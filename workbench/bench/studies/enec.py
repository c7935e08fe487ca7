"""Lossless weights: what ENEC's code saves on this teacher, beside its bounds, zstd and lz4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch

from workbench.bench.studies.lab import Lab
from workbench.bench.tables import Cell, Plot, Series, Study, Table
from workbench.checkpoints.packed_stat import speeds
from workbench.weights.choice import bounds, choose
from workbench.weights.floats import FORMATS, FloatFormat, Words

BYTES: Final = 4 << 20
"""Of each dtype; zstd -19 takes a few seconds for them."""
COLUMNS: Final = ("dtype, codec", "ratio", "encodes MB/s", "decodes MB/s")


def measure(lab: Lab) -> Study:
    """Pack the teacher's largest weights in each dtype."""
    return lossless_study(lab.session.pair.teacher_weights)


def lossless_study(weights: Mapping[str, Any]) -> Study:
    """Pack the largest of some weights in each dtype."""
    rows: list[tuple[Cell, ...]] = []
    sizes: list[tuple[Cell, ...]] = []
    notes = set[str]()
    for layout in _layouts(weights):
        words = _words(weights, layout)
        parameters = choose(words, layout)
        bound = bounds(words, layout, parameters)
        measured, skipped = speeds(words, layout, parameters)
        notes |= {skipped} - {""}
        rows += [(f"{layout.name}, {each.codec}", each.ratio, each.encode, each.decode) for each in measured]
        width = 8 * layout.num_bytes
        sizes.append(
            (layout.name, str(parameters), measured[0].ratio, width / bound.model, width / bound.entropy)
        )
    names = tuple(str(row[0]) for row in rows)
    return Study(
        name="enec",
        title="Lossless weights",
        text=(
            f"{BYTES:,} bytes of the teacher's largest matrices in each dtype, processor time of one core.",
            "Of the model: what ENEC's groups should take if exponents were independent.",
            "Of the entropy: what no code of single exponents gets below.",
            "Dtypes as wide as the weights are stored, or narrower: widened ones end in zeros.",
            "Ours checks a checksum of every block; zstd and lz4 as pyarrow has them, without one.",
            "It says nothing of a device's vector units, for which the code was made.",
            *sorted(notes),
        ),
        tables=(
            Table("Size", ("dtype", "parameters", "ratio", "of the model", "of the entropy"), tuple(sizes)),
            Table("Ratio and throughput", COLUMNS, tuple(rows)),
        ),
        plots=(
            Plot("bar", "Decoding", "", "MB/s", (Series("decodes", names, tuple(row[3] for row in rows)),)),
        ),
    )


def _layouts(weights: Mapping[str, Any]) -> list[FloatFormat]:
    """Return the dtypes that are no wider than the largest matrix is stored."""
    largest = max(weights.values(), key=lambda tensor: tensor.numel() * tensor.is_floating_point())
    return [layout for layout in FORMATS.values() if layout.num_bytes <= largest.element_size()]


def _words(weights: Mapping[str, Any], layout: FloatFormat) -> Words:
    """Return elements of the largest floating point matrices in a dtype."""
    dtype = getattr(torch, layout.name)
    floats = {  # a tied head is the embedding itself
        tensor.data_ptr(): tensor
        for tensor in weights.values()
        if tensor.is_floating_point() and tensor.dim() == 2
    }
    largest = sorted(floats.values(), key=lambda tensor: -tensor.numel())
    parts, left = [], BYTES // layout.num_bytes
    for tensor in largest:
        part = tensor.detach().cpu().reshape(-1)[:left].to(dtype)
        parts.append(part.view(torch.uint8).numpy().view(layout.word))
        left -= part.numel()
        if left <= 0:
            break
    return np.concatenate(parts)
