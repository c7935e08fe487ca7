"""The reference owns its weights: a path that writes into the pair's tensors changes no word of its judge.

Catches: samples at the pair's own dtype sharing its storage, so that a path that scales a weight moves the
truth and widens its own allowance.
"""

from __future__ import annotations

import pytest
import torch

from tests.lockstep.runs import SMALL
from tests.pairs import tiny_pair
from workbench.lockstep.truth.reference_runner import ReferenceRunner


@pytest.mark.parametrize("path_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("side", ["teacher_weights", "drafter_weights"])
def test_writing_into_the_pair_changes_no_result(path_dtype: str, side: str) -> None:
    pair = tiny_pair(3, head_dim=16)
    runner = ReferenceRunner(pair, SMALL, path_dtype=path_dtype, rung="masked", num_samples=2)
    prompt = [1, 2, 3, 4]

    def results() -> list[torch.Tensor]:
        rows = runner.prefill(prompt)
        drafted = runner.free_draft(prompt, 5, rows[0].features)
        return [*(row.logits for row in rows), torch.from_numpy(drafted.logprobs)]

    before = results()
    for weight in getattr(pair, side).values():
        weight.mul_(1.5)
    assert all(torch.equal(one, other) for one, other in zip(before, results(), strict=True))
    fresh = ReferenceRunner(pair, SMALL, path_dtype=path_dtype, rung="masked", num_samples=2)
    rows = fresh.prefill(prompt)
    changed = fresh.free_draft(prompt, 5, rows[0].features).logprobs
    assert not torch.equal(before[-1], torch.from_numpy(changed)), "the weights were not really written to"
