"""Reading keys and values by position: what commit gathers, what paged rows become, and moving them in place.

No operator of the vendor's is behind these; the border does them with plain torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from workbench.kernels.kernel import Arguments, Draw, Exact, Kernel, Order, Trial, moved, num_bytes
from workbench.kernels.operators.forms import poking


def gather_rows(memory: Tensor, places: Tensor) -> Tensor:
    """Return rows [2, R, H, D] of a cache [2, S, H, D] by place, int64 [R]."""
    return memory.index_select(1, places)


def paged_rows(blocks: Tensor, block_table: Tensor, num_keys: int) -> Tensor:
    """Return rows [num_keys, W] of blocks [blocks, block_size, W] in the order of a table int32 [width]."""
    positions = torch.arange(num_keys, device=blocks.device)
    size = blocks.shape[1]
    return blocks[block_table.long()[positions // size], positions % size]


def compact_rows(memory: Tensor, path: Tensor, start: int) -> None:
    """Move rows `path` of a cache [2, S, H, D] to start, start + 1, ... in place; the source may overlap."""
    memory[:, start : start + len(path)] = memory[:, path].clone()


def gather_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return each row by its place."""
    memory = arguments["memory"]
    rows = [memory[:, place] for place in arguments["places"].tolist()]
    return (moved(torch.stack(rows, 1) if rows else memory[:, :0]),)


def paged_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return each row from its block."""
    blocks, table = arguments["blocks"], arguments["block_table"].tolist()
    size = blocks.shape[1]
    rows = [blocks[table[row // size], row % size] for row in range(arguments["num_keys"])]
    return (moved(torch.stack(rows) if rows else blocks.flatten(0, 1)[:0]),)


def compact_truth(arguments: Arguments) -> tuple[Exact, ...]:
    """Return the memory with the path behind its prefix; what lies past the path is dead."""
    before, start = arguments["memory"], arguments["start"]
    after = before.clone()
    for number, place in enumerate(arguments["path"].tolist()):
        after[:, start + number] = before[:, place]
    dead = torch.zeros_like(after, dtype=torch.bool)
    dead[:, start + len(arguments["path"]) :] = True
    return (moved(after, dead),)


def gather_call(draw: Draw, length: int, count: int, *, dtype: torch.dtype = torch.bfloat16) -> Arguments:
    """Return a cache and places of it, in any order."""
    return {"memory": draw.normal(2, length, 2, 16, dtype=dtype), "places": draw.integers(0, length, count)}


def prefix_call(draw: Draw, length: int) -> Arguments:
    """Return places that are the first rows in order, which tempts to return a view."""
    return gather_call(draw, length, 1) | {"places": torch.arange(length - 3)}


def paged_call(draw: Draw, num_keys: int, *, block_size: int = 16) -> Arguments:
    """Return blocks out of order; the unused end of the last one is NaN."""
    used = -(-num_keys // block_size)
    blocks = draw.normal(used + 2, block_size, 24, dtype=torch.float16)
    table = draw.permutation(used + 2)[: used + 1].int()
    if num_keys % block_size:
        blocks[int(table[used - 1]), num_keys % block_size :] = float("nan")
    return {"blocks": blocks, "block_table": table, "num_keys": num_keys}


def compact_call(draw: Draw, start: int, nodes: int, depth: int) -> Arguments:
    """Return a cache with a tree of rows behind its prefix and a path down that tree."""
    path = draw.permutation(nodes - 1)[:depth].sort().values + start + 1
    return {
        "memory": draw.normal(2, start + nodes, 2, 16, dtype=torch.bfloat16),
        "path": torch.cat((torch.tensor([start]), path)),
        "start": start,
    }


def overlapping_call(draw: Draw, start: int, nodes: int) -> Arguments:
    """Return a path whose every row is the next one's target."""
    call = compact_call(draw, start, nodes, 1)
    return call | {"path": torch.arange(start + 1, start + nodes)}


def gather_cases() -> Iterator[Trial]:
    """Yield the cases of the gather."""
    for dtype in (torch.bfloat16, torch.float32):
        build = partial(gather_call, length=200, count=24, dtype=dtype)
        yield Trial(f"static-{str(dtype).removeprefix('torch.')}", build)
    for length in (511, 512, 513, 1025):
        yield Trial(f"length-{length}", partial(gather_call, length=length, count=64), "keys512", "dynamic")
    for count in (1, 31, 33):
        yield Trial(f"rows-{count}", partial(gather_call, length=70, count=count), "tile", "dynamic")
    yield Trial("prefix", partial(prefix_call, length=40), form="dynamic")
    odd = poking(gather_call, "memory", float("nan"), float("inf"), -0.0, length=33, count=40)
    yield Trial("bits", odd, "nan", "dynamic")
    yield Trial("empty", partial(gather_call, length=8, count=0), "empty", "dynamic")


def paged_cases() -> Iterator[Trial]:
    """Yield the cases of paged rows."""
    yield Trial("static", partial(paged_call, num_keys=100))
    for keys in (1, 15, 16, 17, 511, 512, 513):
        yield Trial(f"keys-{keys}", partial(paged_call, num_keys=keys), "keys512", "dynamic")
    yield Trial("blocks-of-128", partial(paged_call, num_keys=200, block_size=128), "stale", "dynamic")
    yield Trial("empty", partial(paged_call, num_keys=0), "empty", "dynamic")


def compact_cases() -> Iterator[Trial]:
    """Yield the cases of moving a path."""
    yield Trial("static", partial(compact_call, start=40, nodes=16, depth=4))
    for start, nodes, depth in ((0, 8, 3), (511, 33, 9), (512, 64, 7), (30, 2, 0)):
        build = partial(compact_call, start=start, nodes=nodes, depth=depth)
        yield Trial(f"start-{start}", build, "keys512" if start > 500 else "ordinary", "dynamic")
    yield Trial("overlapping", partial(overlapping_call, start=20, nodes=12), form="dynamic")


def compact_reference(arguments: Arguments, _: Order) -> tuple[Tensor, ...]:
    """Return what the border's own makes."""
    memory = arguments["memory"].clone()
    compact_rows(memory, arguments["path"], arguments["start"])
    return (memory,)


def gather_moves(arguments: Arguments) -> tuple[int, int]:
    """Return bytes of the rows and of their places, and of the copy."""
    memory, places = arguments["memory"], arguments["places"]
    rows = len(places) * num_bytes(memory[:, :1])
    return rows + num_bytes(places), rows


def paged_moves(arguments: Arguments) -> tuple[int, int]:
    """Return bytes of the rows and of the table, and of the copy."""
    rows = arguments["num_keys"] * num_bytes(arguments["blocks"][:1, :1])
    return rows + num_bytes(arguments["block_table"]), rows


def compact_moves(arguments: Arguments) -> tuple[int, int]:
    """Return bytes of the path's rows and of the path, and of the rows again."""
    rows = len(arguments["path"]) * num_bytes(arguments["memory"][:, :1])
    return rows + num_bytes(arguments["path"]), rows


_read = partial(Kernel, level=1, rule="default")
kv_gather = _read(
    name="kv_gather",
    about="rows of a cache by position, as commit copies them",
    truth=gather_truth,
    reference=lambda arguments, _: (gather_rows(**arguments),),
    own=gather_rows,
    moves=gather_moves,
    heavy=partial(gather_call, length=16384, count=8192),
    cases=tuple(gather_cases()),
)
kv_paged_rows = _read(
    name="kv_paged_rows",
    about="rows of a paged cache in order",
    truth=paged_truth,
    reference=lambda arguments, _: (paged_rows(**arguments),),
    own=paged_rows,
    moves=paged_moves,
    heavy=partial(paged_call, num_keys=16384, block_size=128),
    cases=tuple(paged_cases()),
)
kv_compact = _read(
    name="kv_compact",
    about="an accepted path moved behind its prefix, in place",
    truth=compact_truth,
    reference=compact_reference,
    own=compact_rows,
    moves=compact_moves,
    writes=("memory",),
    cases=tuple(compact_cases()),
)
