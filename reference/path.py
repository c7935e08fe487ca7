"""The reference as a `DecodePath`, on any rung."""

from __future__ import annotations

from functools import partial

import torch

from reference.model import ReferenceModels
from reference.run import RungStages
from reference.rungs import rung_named
from reference.sampling import chooser_for
from reference.state import ReferenceState, kv_lengths, kv_rows
from tracing.models import ModelPair
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, Stages

CACHE_COLUMNS = frozenset(
    {
        "commit_mode",
        "commit_fallback",
        "prefix_kept",
        "kv_digest_before",
        "kv_digest_after",
        "kv_row_digests",
    }
)
"""Columns that only a path with a cache can have."""


def make_path(
    pair: ModelPair,
    settings: DecodeSettings,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    rung: str = "masked",
) -> DecodePath:
    """Build the reference path over the given weights, which are never changed.

    Args:
        pair: Plain data from a checkpoint.
        settings: `commit_mode`, `kv_layout` and `block_size` mean nothing here.
        device: A torch device.
        dtype: `float64`, `float32`, `bfloat16` or `float16`.
        rung: `replay`, `masked` or `cached`.

    Raises:
        UsageError: An unknown dtype or rung.
    """
    chosen = rung_named(rung)
    models = ReferenceModels(pair, dtype, device)
    run = RungStages(models, settings, chosen)
    return DecodePath(
        name="reference",
        stages=Stages(
            prefill=run.prefill,
            draft=run.draft,
            tensorize=run.tensorize,
            verify=run.verify,
            accept=run.accept,
            commit=run.commit,
        ),
        begin=ReferenceState,
        chooser=None if settings.is_greedy else partial(chooser_for, settings),
        kv_rows=kv_rows if run.has_cache else None,
        kv_lengths=kv_lengths if run.has_cache else None,
        lacks=_lacks(rung),
        info={"rung": rung, "dtype": dtype, "device": device, "torch": str(torch.__version__)},
    )


def _lacks(rung: str) -> frozenset[str]:
    """Return the trace columns that a rung can never have."""
    always = frozenset({"slots", "index_sites"})
    if rung == "cached":
        return always
    if rung == "masked":
        return always | CACHE_COLUMNS
    return always | CACHE_COLUMNS | {"draft_top1_offsets"}
