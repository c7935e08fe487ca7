"""Eager attention over a whole sequence: block by block it is what one masked softmax gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.fused.eager_attention import EagerMasks, attend_on_cpu, step_by_step


def _heads(num_rows: int, num_heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_rows)
    shapes = ((num_rows, num_heads), (num_rows, kv_heads), (num_rows, kv_heads))
    query, key, value = (torch.randn(1, *shape, 16, generator=generator) for shape in shapes)
    return query, key, value


@pytest.mark.parametrize(("num_heads", "kv_heads"), [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("num_rows", [2, 63, 64, 65, 150])
def test_blocks_give_what_one_masked_softmax_gives(num_rows: int, num_heads: int, kv_heads: int) -> None:
    query, key, value = _heads(num_rows, num_heads, kv_heads)
    masks = EagerMasks()
    wanted = step_by_step(query, key, value, masks.causal(num_rows, num_rows, query.device), 0.25)

    given = attend_on_cpu(query, key, value, None, masks, whole=True, scale=0.25)

    torch.testing.assert_close(given, wanted, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("changed", [1, 64, 99])
def test_no_row_sees_a_later_one(changed: int) -> None:
    query, key, value = _heads(100, 4, 2)
    before = attend_on_cpu(query, key, value, None, EagerMasks(), whole=True, scale=0.25)
    key[:, changed:], value[:, changed:] = 7.0, -7.0

    after = attend_on_cpu(query, key, value, None, EagerMasks(), whole=True, scale=0.25)

    assert torch.equal(after[:, :changed], before[:, :changed])
    assert not torch.equal(after[:, changed], before[:, changed])
