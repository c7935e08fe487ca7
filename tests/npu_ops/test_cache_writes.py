"""Scatter and cache writes, read back cell by cell.

Which bugs these catch: a write to the wrong slot, to a neighbour, or to the copy instead of the cache.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.kernels.calls.paged_cache import atb, pa_norm, pa_nz
from workbench.kernels.calls.scatter_nd_update import scatter
from workbench.npu.modes import use_mode
from workbench.npu.operators.paged_cache import npu_reshape_and_cache, npu_scatter_pa_kv_cache
from workbench.npu.operators.scatter_nd_update import npu_scatter_nd_update, npu_scatter_nd_update_


@given(st.data())
def test_scatter_writes_each_place_and_nothing_else(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    depth = data.draw(st.integers(1, len(shape)))
    places = data.draw(
        st.lists(
            st.tuples(*(st.integers(0, size - 1) for size in shape[:depth])),
            min_size=1,
            max_size=5,
            unique=True,
        )
    )
    target = torch.zeros(shape)
    updates = (
        torch.arange(1, 1 + len(places) * torch.zeros(shape[depth:]).numel()).view(-1, *shape[depth:]).float()
    )
    expected = target.clone()
    for place, update in zip(places, updates, strict=True):
        expected[place] = update
    indices = torch.tensor(places, dtype=data.draw(st.sampled_from([torch.int32, torch.int64])))
    assert torch.equal(npu_scatter_nd_update(target, indices, updates), expected)
    assert not target.any()  # the plain form copies
    assert npu_scatter_nd_update_(target, indices, updates) is target
    assert torch.equal(target, expected)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.int8, torch.float16])
def test_scatter_takes_every_dtype_of_its_list(dtype: torch.dtype) -> None:
    call = scatter(input=scatter()["input"].to(dtype), updates=torch.ones(2, 4).to(dtype))
    out = npu_scatter_nd_update(**call)
    assert bool((out[0, 2] == 1).all())
    assert bool((out[5, 1] == 1).all())


@pytest.mark.parametrize("mode", ["Norm", "PA_NZ", "atb"])
def test_tokens_land_in_their_slots(mode: str) -> None:
    """Read back cell by cell; the token with a negative slot is skipped by the ATB form."""
    call = {"Norm": pa_norm, "PA_NZ": pa_nz, "atb": atb}[mode]()
    call["key_cache"].zero_()
    call["value_cache"].zero_()
    slots = call.get("slot_mapping", call.get("slot_indices"))
    (npu_reshape_and_cache if mode == "atb" else npu_scatter_pa_kv_cache)(**call)
    for tokens, cache in ((call["key"], call["key_cache"]), (call["value"], call["value_cache"])):
        seen = torch.zeros_like(cache, dtype=torch.bool)
        for token, slot in zip(tokens, slots.tolist(), strict=True):
            if slot < 0:
                continue
            block, place = divmod(slot, 8)
            for head in range(2):
                for dim in range(16):
                    flat = head * 16 + dim
                    cell = (
                        (block, flat // 16, place, flat % 16)
                        if mode == "PA_NZ"
                        else (block, place, head, dim)
                    )
                    assert cache[cell] == token[head, dim]
                    seen[cell] = True
        assert not cache[~seen].any()


@pytest.mark.parametrize("operator", ["scatter", "atb"])
def test_hardware_repeated_places_keep_one_of_the_writes(operator: str) -> None:
    with use_mode("hardware"):
        if operator == "scatter":
            call = scatter(indices=torch.tensor([[5, 1], [5, 1]]))
            row = npu_scatter_nd_update(**call)[5, 1]
            assert any(torch.equal(row, update) for update in call["updates"])
        else:
            call = atb(slot_indices=torch.tensor([8, 8, 8], dtype=torch.int32))
            npu_reshape_and_cache(**call)
            assert any(torch.equal(call["key_cache"][1, 0], token) for token in call["key"])
