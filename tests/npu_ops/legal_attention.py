"""Generators of legal attention calls, written from the vendor's documented rules and not from our checks.

Every choice quotes the rule that allows it. Sizes stay small, so that the emulation can also be run.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.npu_ops.legal_others import DTYPES, filled

CAUSAL_2048 = torch.ones(2048, 2048, dtype=torch.bool).triu(1)  # always this one, whatever the lengths


@st.composite
def heads(draw: st.DrawFn) -> tuple[int, int]:
    """Query and key heads: the first a multiple of the second, at most 64 to 1, neither above 256."""
    kv_heads = draw(st.sampled_from([1, 2, 3, 8]))
    return kv_heads * draw(st.sampled_from([1, 2, 5, 16, 64 if kv_heads < 8 else 32])), kv_heads


@st.composite
def self_masks(draw: st.DrawFn, batch: int, rows: int, columns: int, kv_lens: list[int]) -> Tensor:
    """A mask of attention over a prefix and the queries themselves: every query sees at least its own key.

    Modes 0 and 1: bool, int8 or uint8 with 1 = hide; 2-D, 3-D or 4-D; a leading 1 speaks for the batch;
    larger sizes are padding.
    """
    shared = draw(st.booleans()) or batch == 1
    more_rows, more_columns = draw(st.sampled_from([(0, 0), (0, 3), (2, 0), (3, 5)]))
    count = 1 if shared else batch
    bits = draw(st.integers(0, 2**31 - 1))
    generator = torch.Generator().manual_seed(bits)
    mask = torch.rand(count, rows + more_rows, columns + more_columns, generator=generator) < 0.5
    for request, keys in enumerate(kv_lens):
        for row in range(rows):
            own = keys - rows + row
            mask[0 if shared else request, row, max(own, 0)] = False
    forms = [mask, mask[:, None]]
    if count == 1 and (more_rows, more_columns) == (0, 0):
        forms.append(mask[0])
    return (
        draw(st.sampled_from(forms))
        .to(draw(st.sampled_from([torch.bool, torch.int8, torch.uint8])))
        .contiguous()
    )


@st.composite
def dense_calls(draw: st.DrawFn) -> dict[str, Any]:
    """BSH, BSND, BNSD, BNSD_BSND, BSH_BNSD, BSND_BNSD over contiguous keys."""
    layout = draw(st.sampled_from(["BSH", "BSND", "BNSD", "BNSD_BSND", "BSH_BNSD", "BSND_BNSD"]))
    batch, columns = draw(st.integers(1, 3)), draw(st.integers(1, 40))
    rows = draw(st.integers(2 if layout == "BNSD_BSND" else 1, 9))  # BNSD_BSND needs Q_S > 1
    (num_heads, kv_heads), dtype = draw(heads()), draw(DTYPES)
    decode = rows == 1 and layout in {"BSH", "BSND", "BNSD"}
    if layout in {"BSH_BNSD", "BSND_BNSD"}:
        dim = draw(st.sampled_from([64, 128]))
    else:  # one query row: any head dim; more: multiples of 16
        dim = draw(st.integers(2, 70)) if decode else 16 * draw(st.integers(1, 5))
    value_dim = dim
    if dim == 128 and draw(st.booleans()):
        dim = (
            192 if layout not in {"BSH_BNSD", "BSND_BNSD"} else 128
        )  # 192 beside 128 is the one allowed pair
    source = layout.split("_")[0]
    call: dict[str, Any] = {
        "query": arranged(filled(batch, rows, num_heads, dim, dtype=dtype), source),
        "key": arranged(filled(batch, columns, kv_heads, dim, dtype=dtype), source),
        "value": arranged(filled(batch, columns, kv_heads, value_dim, dtype=dtype), source),
        "num_heads": num_heads,
        "num_key_value_heads": draw(st.sampled_from([kv_heads, 0])) if kv_heads == num_heads else kv_heads,
        "scale": draw(st.sampled_from([dim**-0.5, 0.3])),
        "input_layout": layout,
        "softmax_lse_flag": draw(st.booleans()),
        # 2 and 3 with one query row: head dims 64 and 128
        "inner_precise": draw(st.integers(0, 3 if not decode or dim in {64, 128} else 1)),
    }
    kv_lens = draw(lengths(batch, columns))
    if kv_lens is not None:
        call["actual_seq_lengths_kv"] = kv_lens
    if draw(st.booleans()):
        call["actual_seq_lengths"] = draw(lengths(batch, rows)) or [rows]
    used = spread(kv_lens, batch, columns)
    if not decode:
        call |= draw(sparse(batch, rows, columns, used, layout))
    return call


def arranged(tensor: Tensor, layout: str) -> Tensor:
    """Return [B, S, N, D] contiguous in BSH, BSND or BNSD."""
    if layout == "BSH":
        return tensor.flatten(2)
    return tensor.transpose(1, 2).contiguous() if layout == "BNSD" else tensor


@st.composite
def lengths(draw: st.DrawFn, batch: int, size: int) -> list[int] | None:
    """None, one length for all, or one per request and perhaps more; from 0 to the size."""
    form = draw(st.sampled_from(["none", "one", "each", "more"]))
    count = {"none": 0, "one": 1, "each": batch, "more": batch + 2}[form]
    return draw(st.lists(st.integers(0, size), min_size=count, max_size=count)) or None


def spread(given: list[int] | None, batch: int, size: int) -> list[int]:
    """Return the length of each request."""
    if given is None:
        return [size] * batch
    return given * batch if len(given) == 1 else given[:batch]


@st.composite
def sparse(  # noqa: PLR0917  # hypothesis passes them by position
    draw: st.DrawFn, batch: int, rows: int, columns: int, used: list[int], layout: str
) -> dict[str, Any]:
    """A sparse mode with its mask, for more than one query row.

    0 without a mask ignores the tokens; 0 and 1 take a full mask; 2, 3 and 4 take the 2048 one in three
    shapes; not both tokens negative, and -next <= pre. Layouts with another output order take no 2-D mask.
    """
    mode = draw(st.sampled_from([None, 0, 1, 2, 3, 4]))
    if mode is None:
        return {"pre_tokens": draw(st.integers(-3, 50)), "next_tokens": draw(st.integers(-3, 50))}
    if mode in {0, 1}:
        mask = draw(self_masks(batch, rows, columns, used))
        if mask.dim() == 2 and layout in {"BSH_BNSD", "BSND_BNSD"}:
            mask = mask[None]
        return {"sparse_mode": mode, "atten_mask": mask}
    shape = draw(st.sampled_from([(2048, 2048), (1, 2048, 2048), (1, 1, 2048, 2048)]))
    before, after = draw(st.tuples(st.integers(-3, 50), st.integers(-3, 50)).filter(lambda t: sum(t) >= 0))
    tokens = {"pre_tokens": before, "next_tokens": after} if mode == 4 else {}
    return {"sparse_mode": mode, "atten_mask": CAUSAL_2048.view(shape), **tokens}


@st.composite
def paged_calls(draw: st.DrawFn) -> dict[str, Any]:
    """Block tables with dense or packed queries, the cache in one of three forms."""
    layout = draw(st.sampled_from(["BSH", "BSND", "BNSD", "TND"]))
    batch, rows = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    (num_heads, kv_heads), dtype = draw(heads()), draw(DTYPES)
    dim = draw(st.sampled_from([64, 128] if layout == "TND" else [32, 64, 80, 128]))
    # D of 64 or 128: multiples of 16 up to 1024; others: of 128 with more query rows, of 16 with one
    fine = dim in {64, 128} or (rows == 1 and layout != "TND")
    size = draw(st.sampled_from([16, 32, 48, 128] if fine else [128, 256]))
    kv_lens = draw(st.lists(st.integers(0, 3 * size), min_size=batch, max_size=batch))
    used = [-(-keys // size) for keys in kv_lens]
    blocks, width = sum(used) + draw(st.integers(1, 2)), max(*used, 1) + draw(st.integers(0, 1))
    ids = iter(draw(st.permutations(range(blocks))))
    unused = draw(st.sampled_from([-1, 0, 10**6]))  # entries past the used count may be anything
    rows_of_table = [[next(ids) for _ in range(count)] + [unused] * (width - count) for count in used]
    form = draw(st.sampled_from(["BnBsH", "BnNBsD", "NZ"] if dim in {64, 128} else ["BnBsH", "BnNBsD"]))
    shape = {
        "BnBsH": (blocks, size, kv_heads * dim),
        "BnNBsD": (blocks, kv_heads, size, dim),
        "NZ": (blocks, kv_heads, dim // 16, size, 16),
    }[form]
    call: dict[str, Any] = {
        "key": filled(*shape, dtype=dtype),
        "value": filled(*shape, dtype=dtype),
        "block_table": torch.tensor(rows_of_table, dtype=torch.int32),
        "block_size": size,
        "actual_seq_lengths_kv": kv_lens,  # per request, also for TND
        "num_heads": num_heads,
        "num_key_value_heads": kv_heads,
        "scale": dim**-0.5,
        "input_layout": layout,
    }
    if layout == "TND":
        query_lens = draw(st.lists(st.integers(0, rows), min_size=batch, max_size=batch))
        query_lens[0] += 1
        call["query"] = filled(sum(query_lens), num_heads, dim, dtype=dtype)
        call["actual_seq_lengths"] = list(accumulate(query_lens))
        return call | draw(packed_sparse())
    call["query"] = arranged(filled(batch, rows, num_heads, dim, dtype=dtype), layout)
    if rows > 1 and draw(st.booleans()):
        call["atten_mask"] = draw(
            self_masks(batch, rows, width * size, kv_lens).filter(lambda mask: mask.dim() > 2)
        )
    return call


@st.composite
def packed_sparse(draw: st.DrawFn) -> dict[str, Any]:
    """TND: 0 without a mask, or 3 or 4 with the 2048 one; GQA needs inner_precise 0."""
    mode = draw(st.sampled_from([0, 3, 4]))
    if mode == 0:
        return {}
    return {"sparse_mode": mode, "atten_mask": CAUSAL_2048} | (
        {"pre_tokens": 5, "next_tokens": 0} if mode == 4 else {}
    )


@st.composite
def packed_calls(draw: st.DrawFn) -> dict[str, Any]:
    """TND, NTD and NTD_TND over contiguous keys: running totals for both, as many of each."""
    layout = draw(st.sampled_from(["TND", "NTD", "NTD_TND"]))
    requests = draw(st.integers(1, 4))
    query_lens = draw(st.lists(st.integers(0, 5), min_size=requests, max_size=requests))
    kv_lens = draw(st.lists(st.integers(0, 20), min_size=requests, max_size=requests))
    query_lens[-1], kv_lens[0] = query_lens[-1] + 1, kv_lens[0] + 1
    (num_heads, kv_heads), dtype = draw(heads()), draw(DTYPES)
    dim, value_dim = draw(st.sampled_from([(64, 64), (128, 128)] + [(192, 128)] * (layout == "TND")))
    tensors = {
        "query": filled(sum(query_lens), num_heads, dim, dtype=dtype),
        "key": filled(sum(kv_lens), kv_heads, dim, dtype=dtype),
        "value": filled(sum(kv_lens), kv_heads, value_dim, dtype=dtype),
    }
    if layout != "TND":
        tensors = {name: tensor.transpose(0, 1).contiguous() for name, tensor in tensors.items()}
    return {
        **tensors,
        "actual_seq_lengths": list(accumulate(query_lens)),
        "actual_seq_lengths_kv": list(accumulate(kv_lens)),
        "num_heads": num_heads,
        "num_key_value_heads": kv_heads,
        "scale": dim**-0.5,
        "input_layout": layout,
        "softmax_lse_flag": draw(st.booleans()),
    } | draw(packed_sparse())
