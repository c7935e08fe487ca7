"""Calls of the attention operators: trees over a prefix, pads, decoding, pages, packed requests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.calls.fused_infer_attention import as_v2
from workbench.kernels.kernel import Arguments, Draw, Trial
from workbench.kernels.operators.forms import DTYPES, named

DIM = 64
BLOCK = 128
"""Tokens per block that every head dim allows."""


def tree_blocked(draw: Draw, nodes: int, keys: int, pads: int = 0) -> Tensor:
    """Return bool [1, 1, nodes, keys], True is left out: prefix and ancestors are seen, pads see nothing."""
    visible = torch.zeros(nodes, keys, dtype=torch.bool)
    visible[:, : keys - nodes] = True
    for node in range(nodes):
        parent = int(draw.integers(0, max(1, node), 1))
        visible[node] |= visible[parent] if node else False
        visible[node, keys - nodes + node] = True
    if pads:
        visible[nodes - pads :] = False
        visible[:, keys - pads :] = False
    return ~visible[None, None]


def rows(draw: Draw, batch: int, queries: int, keys: int, *, dtype: torch.dtype, heads: int = 4) -> Arguments:
    """Return BSND without a mask, half as many key heads."""
    kv_heads = max(1, heads // 2)
    return {
        "query": draw.normal(batch, queries, heads, DIM, dtype=dtype),
        "key": draw.normal(batch, keys, kv_heads, DIM, dtype=dtype),
        "value": draw.normal(batch, keys, kv_heads, DIM, dtype=dtype),
        "num_heads": heads,
        "num_key_value_heads": kv_heads,
        "scale": DIM**-0.5,
        "input_layout": "BSND",
    }


def tree(
    draw: Draw, nodes: int, keys: int, *, dtype: torch.dtype = torch.float32, pads: int = 0, **changes: Any
) -> Arguments:
    """Return a tree of `nodes` behind a prefix, `keys` in all."""
    call = rows(draw, 1, nodes, keys, dtype=dtype)
    mask = {"atten_mask": tree_blocked(draw, nodes, keys, pads), "inner_precise": 2}
    return call | mask | changes


def stale_tree(draw: Draw, nodes: int, keys: int, dead: int) -> Arguments:
    """Return a tree over a cache whose last rows are dead and hold NaN; the length leaves them out."""
    call = tree(draw, nodes, keys)
    for name in ("key", "value"):
        dead_rows = torch.full((1, dead, *call[name].shape[2:]), float("nan"))
        call[name] = torch.cat((call[name], dead_rows), 1)
    call["atten_mask"] = torch.cat((call["atten_mask"], torch.ones(1, 1, nodes, dead, dtype=torch.bool)), -1)
    return call | {"actual_seq_lengths_kv": [keys]}


def decoding(
    draw: Draw, keys: int, *, batch: int = 2, dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> Arguments:
    """Return one query row for each request, of different lengths; larger scores with `scale`."""
    call = rows(draw, batch, 1, keys, dtype=dtype)
    lengths = [max(1, keys - 3 * number) for number in range(batch)]
    return call | {"actual_seq_lengths_kv": lengths, "query": call["query"] * scale}


def paged(
    draw: Draw, nodes: int, keys: int, *, dtype: torch.dtype = torch.float32, batch: int = 1
) -> Arguments:
    """Return trees over blocks out of order; past each length lies NaN, past each table a wild number."""
    call = rows(draw, batch, nodes, keys, dtype=dtype)
    used = -(-keys // BLOCK)
    ids = draw.permutation(batch * used + 1)[: batch * used].view(batch, used)
    masks = torch.ones(batch, 1, nodes, (used + 1) * BLOCK, dtype=torch.bool)
    for name in ("key", "value"):
        cache = torch.full((batch * used + 1, BLOCK, call[name].shape[2] * DIM), float("nan"), dtype=dtype)
        for request, blocks in enumerate(ids.tolist()):
            for row, token in enumerate(call[name][request]):
                cache[blocks[row // BLOCK], row % BLOCK] = token.flatten()
        call[name] = cache
    for request in range(batch):
        masks[request, :, :, :keys] = tree_blocked(draw, nodes, keys)[0]
    table = torch.cat((ids, torch.full((batch, 1), 10**6)), 1).int()
    return call | {
        "block_table": table,
        "block_size": BLOCK,
        "actual_seq_lengths_kv": [keys] * batch,
        "atten_mask": masks,
        "inner_precise": 2,
    }


def packed(
    draw: Draw, queries: list[int], keys: list[int], *, dtype: torch.dtype = torch.float32
) -> Arguments:
    """Return TND, causal from the bottom right."""
    call = rows(draw, 1, sum(queries), 1, dtype=dtype)
    kv_heads = call["num_key_value_heads"]
    return call | {
        "query": call["query"][0],
        "key": draw.normal(sum(keys), kv_heads, DIM, dtype=dtype),
        "value": draw.normal(sum(keys), kv_heads, DIM, dtype=dtype),
        "input_layout": "TND",
        "actual_seq_lengths": list(accumulate(queries)),
        "actual_seq_lengths_kv": list(accumulate(keys)),
        "atten_mask": torch.ones(2048, 2048, dtype=torch.bool).triu(1),
        "sparse_mode": 3,
    }


def repeating(draw: Draw, nodes: int, keys: int) -> Arguments:
    """Return keys all alike: every score ties, and the output is the mean of what is seen."""
    call = tree(draw, nodes, keys)
    call["key"] = call["key"][:, :1].expand_as(call["key"]).contiguous()
    return call


def peaked(nodes: int, keys: int, dtype: torch.dtype, draw: Draw) -> Arguments:
    """Return scores that rise with the place, so that the maximum moves from tile to tile."""
    call = tree(draw, nodes, keys, dtype=dtype)
    rising = torch.linspace(0.1, 6.0, keys)[None, :, None, None]
    return call | {"key": (call["key"].float() * rising).to(dtype)}


def inference_cases() -> Iterator[Trial]:
    """Yield the cases of v1."""
    for dtype in DTYPES:
        name = named(dtype)
        yield Trial(f"static-{name}", partial(tree, nodes=16, keys=144, dtype=dtype))
        yield Trial(f"pads-{name}", partial(tree, nodes=13, keys=80, dtype=dtype, pads=4), form="dynamic")
        yield Trial(f"paged-{name}", partial(paged, nodes=8, keys=200, dtype=dtype), "stale", "dynamic")
        yield Trial(f"decode-{name}", partial(decoding, keys=90, dtype=dtype), form="dynamic")
    for keys in (511, 512, 513, 1025):
        yield Trial(f"tree-keys-{keys}", partial(tree, nodes=7, keys=keys), "keys512", "dynamic")
        yield Trial(f"decode-keys-{keys}", partial(decoding, keys=keys), "keys512", "dynamic")
    yield Trial("paged-keys-513", partial(paged, nodes=5, keys=513), "keys512", "dynamic")
    for nodes in (2, 15, 17, 33):
        yield Trial(f"nodes-{nodes}", partial(tree, nodes=nodes, keys=nodes + 31), "tile", "dynamic")
    yield Trial("paged-two", partial(paged, nodes=4, keys=130, batch=2), "stale", "dynamic")
    yield Trial("packed", partial(packed, queries=[3, 1, 5], keys=[20, 9, 5]), form="dynamic")
    with_lse = partial(tree, nodes=6, keys=40, softmax_lse_flag=True)
    yield Trial("lse", with_lse, form="dynamic")
    yield Trial("stale", partial(stale_tree, nodes=6, keys=50, dead=14), "stale", "dynamic")
    yield Trial("ties", partial(repeating, nodes=6, keys=70), "ties", "dynamic")
    for dtype in (torch.float16, torch.float32):
        yield Trial(f"peaked-{named(dtype)}", partial(peaked, 6, 600, dtype), "large", "dynamic")
    yield Trial("steep", partial(decoding, keys=300, scale=12.0), "large", "dynamic")


def sink_cases() -> Iterator[Trial]:
    """Yield the cases of v2: packed rows with a sink."""
    yield Trial("static-bf16", partial(with_sink, dtype=torch.bfloat16))
    for keys in (511, 513):
        yield Trial(f"keys-{keys}", partial(with_sink, keys=keys, dtype=torch.bfloat16), "keys512", "dynamic")


def with_sink(draw: Draw, *, dtype: torch.dtype, keys: int = 40) -> Arguments:
    """Return packed requests with one more logit for each head."""
    call = packed(draw, [4, 2], [keys, 17], dtype=dtype)
    return as_v2(call) | {"learnable_sink": draw.normal(call["num_heads"], dtype=dtype, scale=2.0)}


def training(
    draw: Draw, nodes: int, keys: int, *, dtype: torch.dtype = torch.float32, masked: bool = True
) -> Arguments:
    """Return a call of the training operator."""
    call = rows(draw, 1, nodes, keys, dtype=dtype)
    del call["num_key_value_heads"]
    made = {"head_num": call.pop("num_heads")} | call
    return made | ({"atten_mask": tree_blocked(draw, nodes, keys)} if masked else {})


def fusion_cases() -> Iterator[Trial]:
    """Yield the cases of the training operator."""
    for dtype in DTYPES:
        yield Trial(f"static-{named(dtype)}", partial(training, nodes=12, keys=76, dtype=dtype))
    for keys in (511, 513, 1025):
        yield Trial(f"keys-{keys}", partial(training, nodes=5, keys=keys), "keys512", "dynamic")
    yield Trial("without-mask", partial(training, nodes=9, keys=33, masked=False), form="dynamic")
    for nodes in (2, 17):
        yield Trial(f"nodes-{nodes}", partial(training, nodes=nodes, keys=nodes + 8), "tile", "dynamic")
