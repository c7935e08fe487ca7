"""A cache that rounds K and V on purpose: silent where it is declared, found where it is not."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reference.stored import CacheRounding
from tests.pairs import tiny_pair
from tracing.errors import UsageError
from tracing.run_facts import ModelFacts
from tracing.settings import DecodeSettings
from workbench.faults.experiment import Setup, run_lockstep
from workbench.faults.placement import Placement
from workbench.fused.cache.contiguous import ContiguousCache
from workbench.judge.recorded.check import check_run
from workbench.judge.rounded_cache import beyond_rounding, half_step

SHAPE = DecodeSettings(tree_nodes=12, depth=3, top_k=4, max_new_tokens=6)
PROMPT = tuple(3 + (7 * place) % 50 for place in range(21))
DTYPES = ("float8_e4m3fn", "float8_e5m2", "int8", "bfloat16")


def storing(dtype: str, scale: float = 0.0) -> Placement:
    """Every row that enters a cache of the path under test is rounded; attention reads it so."""
    rounding = CacheRounding(dtype, scale)

    @contextmanager
    def patched() -> Any:
        honest = ContiguousCache.write

        def write(self: Any, layer_idx: int, *rows: Any) -> Any:
            key, value = (rounding.stored(each.transpose(0, 1)).transpose(0, 1) for each in rows[:2])
            return honest(self, layer_idx, key, value, *rows[2:])

        ContiguousCache.write = write  # type: ignore[method-assign]  # a cache of another kind
        try:
            yield
        finally:
            ContiguousCache.write = honest  # type: ignore[method-assign]  # the original again

    return Placement(around=patched)


def job(seed: int, dtype: str = "float32", rung: str = "masked", **facts: Any) -> Setup:
    pair = tiny_pair(seed, layers=4, head_dim=16)
    return Setup(
        pair=pair,
        prompt=PROMPT,
        settings=SHAPE,
        dtype=dtype,
        rung=rung,
        stated=ModelFacts(shown_layer=0, **facts),
    )


@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("rung", ["masked", "cached", "replay"])
def test_a_declared_cache_is_silent(tmp_path: Path, stored: str, rung: str) -> None:
    outcome = run_lockstep(job(3, rung=rung, cache_dtype=stored), storing(stored), tmp_path / "run")
    assert [str(finding) for finding in outcome.findings] == []
    assert check_run(tmp_path / "run").findings == ()


@pytest.mark.parametrize("seed", range(4))
def test_half_precision_over_an_eight_bit_cache_is_silent(tmp_path: Path, seed: int) -> None:
    declared = job(seed, "bfloat16", cache_dtype="float8_e4m3fn", cache_scale=0.25)
    outcome = run_lockstep(declared, storing("float8_e4m3fn", 0.25), tmp_path / "run")
    assert [str(finding) for finding in outcome.findings] == []


@pytest.mark.parametrize(
    ("declared", "stored"),
    [
        ("", "float8_e4m3fn"),
        ("", "bfloat16"),
        ("bfloat16", "float8_e4m3fn"),
        ("float8_e4m3fn", "float8_e5m2"),
    ],
)
def test_a_cache_that_rounds_more_than_declared_is_found(tmp_path: Path, declared: str, stored: str) -> None:
    outcome = run_lockstep(job(3, cache_dtype=declared), storing(stored), tmp_path / "run")
    assert outcome.findings
    assert outcome.findings[0].rule == "JUDGE-PREFILL-KV"
    assert outcome.findings[0].guilty == "fused"


def test_a_scale_that_is_not_the_declared_one_is_found(tmp_path: Path) -> None:
    declared = job(3, cache_dtype="int8", cache_scale=0.01)
    assert run_lockstep(declared, storing("int8", 0.01), tmp_path / "own").findings == ()
    assert (
        run_lockstep(declared, storing("int8", 0.2), tmp_path / "run").findings[0].rule == "JUDGE-PREFILL-KV"
    )


def test_a_cache_of_an_unknown_kind_is_not_checked(tmp_path: Path) -> None:
    outcome = run_lockstep(job(3, cache_dtype="int4"), storing("float8_e5m2"), tmp_path / "run")
    assert outcome.findings == ()
    with pytest.raises(UsageError, match="cache_dtype should be one of"):
        CacheRounding("int4")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.0, 0.03])
def test_rounding_to_nearest_is_never_beyond_half_a_step(dtype: str, scale: float) -> None:
    torch.manual_seed(0)
    rows = torch.randn(2, 2, 3, 40, 8, dtype=torch.float64) * torch.logspace(-4, 1.5, 40)[:, None]
    stored = torch.stack(
        [torch.stack([CacheRounding(dtype, scale).stored(part) for part in layer]) for layer in rows]
    ).numpy()
    facts = ModelFacts(cache_dtype=dtype, cache_scale=scale)
    left = beyond_rounding(stored, rows.numpy(), facts)
    np.testing.assert_allclose(left, rows.numpy(), rtol=0, atol=1e-12)
    moved = stored + 2.5 * half_step(rows.numpy(), dtype, scale)
    assert (np.abs(beyond_rounding(moved, rows.numpy(), facts) - rows.numpy()) > 0).all()
