"""A path that keeps and sums its draft scores in a half precision, as the official code does, is sound."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pairs import tiny_pair
from tracing.settings import DecodeSettings
from workbench.faults.experiment import Setup, run_lockstep
from workbench.faults.placement import Placement
from workbench.fused.drafters import search
from workbench.judge.recorded.check import check_run

SHAPE = DecodeSettings(tree_nodes=24, depth=6, top_k=5, max_new_tokens=8)
NUMBERS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def summing_in(number: torch.dtype, extra: float = 0.0) -> Placement:
    """Log-probabilities and their sums are rounded to `number`; `extra` is added to each log-probability."""

    @contextmanager
    def patched() -> Any:
        honest: dict[str, Callable[..., Any]] = {
            name: getattr(search, name) for name in ("_candidates", "_level", "stable_top_k")
        }

        def rounded(scores: torch.Tensor) -> torch.Tensor:
            return scores.to(number).float()

        def candidates(target_from_draft: torch.Tensor, logits: torch.Tensor, top_k: int) -> Any:
            log_probs = rounded(logits.float().log_softmax(dim=-1) + extra)
            scores, ids = honest["stable_top_k"](log_probs, top_k)
            return scores, target_from_draft[ids]

        search._candidates = candidates
        search._level = lambda flats, tokens, scores: honest["_level"](flats, tokens, rounded(scores))
        search.stable_top_k = lambda scores, k: honest["stable_top_k"](rounded(scores), k)
        try:
            yield
        finally:
            for name, function in honest.items():
                setattr(search, name, function)

    return Placement(around=patched)


def job(seed: int, dtype: str) -> Setup:
    pair = tiny_pair(seed, head_dim=16, dtype=NUMBERS[dtype])
    prompt = tuple(3 + (7 * place + seed) % 50 for place in range(19))
    return Setup(pair=pair, prompt=prompt, settings=SHAPE, dtype=dtype)


@pytest.mark.parametrize("dtype", list(NUMBERS))
@pytest.mark.parametrize("seed", range(4))
def test_sums_in_the_paths_own_dtype_are_sound(tmp_path: Path, seed: int, dtype: str) -> None:
    outcome = run_lockstep(job(seed, dtype), summing_in(NUMBERS[dtype]), tmp_path / "run")
    assert [str(finding) for finding in outcome.findings] == []
    assert check_run(tmp_path / "run").findings == ()


def test_sums_in_a_half_precision_that_is_not_the_paths_are_found(tmp_path: Path) -> None:
    single = replace(job(0, "bfloat16"), dtype="float32")
    outcome = run_lockstep(single, summing_in(torch.bfloat16), tmp_path / "run")
    assert outcome.findings[0].rule == "JUDGE-DRAFT-SCORES"


def test_a_shift_of_each_score_is_still_found_in_half_precision(tmp_path: Path) -> None:
    outcome = run_lockstep(job(0, "float16"), summing_in(torch.float16, -0.3), tmp_path / "run")
    assert outcome.findings
    assert outcome.findings[0].moment.stage == "draft"
