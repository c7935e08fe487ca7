"""`d2t` in either convention gives the same absolute map; anything that is no map is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tracing.errors import CheckpointError
from workbench.checkpoints.vocabulary_map import read_map

V = 64


def marks(kept: torch.Tensor, vocab_size: int = V) -> torch.Tensor:
    return torch.zeros(vocab_size, dtype=torch.bool).index_fill(0, kept, value=True)


@given(st.sets(st.integers(0, V - 1), min_size=2, max_size=V))
def test_both_conventions_give_the_kept_ids(ids: set[int]) -> None:
    """Catches target ids of 2i (absolute read as offset) and of i - i (offset read as absolute)."""
    kept = torch.tensor(sorted(ids))
    num = len(kept)
    for d2t in (kept - torch.arange(num), kept):
        read = read_map(d2t, marks(kept), draft_vocab_size=num, vocab_size=V)
        assert torch.equal(read.target_from_draft, kept)
        assert read.confirmed
        assert read.target_from_draft.dtype == torch.int64


@given(st.sets(st.integers(0, V - 1), min_size=2, max_size=V - 1), st.data())
def test_a_map_that_disagrees_with_t2d_is_refused(ids: set[int], data: st.DataObject) -> None:
    kept = torch.tensor(sorted(ids))
    num = len(kept)
    d2t = kept - torch.arange(num)
    row = data.draw(st.integers(0, num - 1))
    d2t[row] += data.draw(st.integers(1, 3))
    if torch.equal(d2t, kept):
        return  # the change turned offsets into the other convention, which is right
    with pytest.raises(CheckpointError, match="d2t disagrees with t2d at draft id"):
        read_map(d2t, marks(kept), draft_vocab_size=num, vocab_size=V)


def test_without_t2d_the_convention_is_told_where_it_can_be() -> None:
    kept = torch.tensor([0, 1, 2, 9, 10, 60])
    offset = read_map(kept - torch.arange(6), None, draft_vocab_size=6, vocab_size=V)
    absolute = read_map(kept, None, draft_vocab_size=6, vocab_size=V)
    assert (offset.convention, absolute.convention) == ("offset", "absolute")
    assert torch.equal(offset.target_from_draft, absolute.target_from_draft)
    assert not offset.ambiguous
    assert not offset.confirmed
    doubtful = read_map(torch.tensor([1, 3, 5]), None, draft_vocab_size=3, vocab_size=V)
    assert (doubtful.convention, doubtful.ambiguous) == ("offset", True)


def test_full_vocabulary_needs_no_map() -> None:
    for d2t, t2d in ((None, None), (torch.zeros(V, dtype=torch.int64), torch.ones(V, dtype=torch.bool))):
        read = read_map(d2t, t2d, draft_vocab_size=V, vocab_size=V)
        assert torch.equal(read.target_from_draft, torch.arange(V))


KEPT = torch.tensor([3, 5, 8])


@pytest.mark.parametrize(
    ("d2t", "t2d", "sentence"),
    [
        (None, None, "d2t is missing"),
        (KEPT.float(), None, "d2t should be integer"),
        (KEPT[:2], None, r"d2t has shape \[2\]"),
        (torch.tensor([3, 2, 70]), None, "d2t is not a map"),
        (torch.tensor([-1, 2, 3]), None, "d2t is not a map"),
        (KEPT, marks(KEPT)[:60], r"t2d has shape \[60\]"),
        (KEPT, marks(torch.tensor([3, 5])), "t2d keeps 2 target ids"),
        (torch.zeros(3, dtype=torch.int64), torch.ones(V, dtype=torch.bool), "t2d keeps 64 target ids"),
        (KEPT, torch.full((V,), 0.5), "t2d should be boolean"),
    ],
)
def test_what_is_no_map_is_refused(d2t: torch.Tensor | None, t2d: torch.Tensor | None, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        read_map(d2t, t2d, draft_vocab_size=3, vocab_size=V)


def test_more_draft_ids_than_target_ids_is_refused() -> None:
    with pytest.raises(CheckpointError, match="larger than the target vocabulary"):
        read_map(None, None, draft_vocab_size=V + 1, vocab_size=V)
