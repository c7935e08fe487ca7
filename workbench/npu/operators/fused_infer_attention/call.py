"""The arguments of one fused attention call, v1 or v2, under one set of names (those of v1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

from torch import Tensor

from workbench.npu.contract import ContractRule
from workbench.npu.emulation.ragged import differences

OPERATOR: Final = "npu_fused_infer_attention_score"
UNBOUNDED: Final = 2**31 - 1
"""Value of `pre_tokens` and `next_tokens` that leaves the band open."""
V2_NAMES: Final = {
    "actual_seq_lengths": "actual_seq_qlen",
    "actual_seq_lengths_kv": "actual_seq_kvlen",
    "num_heads": "num_query_heads",
    "scale": "softmax_scale",
    "softmax_lse_flag": "return_softmax_lse",
}
"""v1 argument name to that of v2, where they differ."""
PAGE: Final = "op-plugin page of npu_fused_infer_attention_score"
V4: Final = "aclnnFusedInferAttentionScoreV4 page, ops-transformer"
HOST: Final = "host check of fused_infer_attention_score, ops-transformer"
rule: Final = partial(ContractRule, operator=OPERATOR)

DENSE: Final = ("BSH", "BSND", "BNSD")
"""Layouts with a batch axis, in which one query row per request means decoding."""
MIXED: Final = ("BSH_BNSD", "BSND_BNSD")
"""Dense layouts whose output has another axis order and whose head dims are restricted."""
PACKED: Final = ("TND", "NTD", "NTD_TND")
"""Layouts without a batch axis: requests follow each other along T."""
LAYOUTS: Final = (*DENSE, "BNSD_BSND", *MIXED, *PACKED)
"""Layouts that contract and emulation cover."""
UNMODELLED: Final = ("BSH_NBSD", "BSND_NBSD", "BNSD_NBSD", "TND_NTD")
"""Documented for latent attention only."""


@dataclass(frozen=True, slots=True)
class Axes:
    """Sizes of one query, key or value tensor.

    Attributes:
        batch: B; 1 in packed layouts (the number of requests comes from the lengths).
        length: S, or T in packed layouts.
        heads: H.
        dim: D.
    """

    batch: int
    length: int
    heads: int
    dim: int


def axes(tensor: Tensor, layout: str, heads: int) -> Axes:
    """Read the sizes of `tensor`, whose rank already fits `layout`; BSH splits H by `heads`."""
    shape = tensor.shape
    if layout == "BSH":
        return Axes(shape[0], shape[1], heads, shape[2] // heads)
    sizes = dict(zip(layout, shape, strict=True))
    return Axes(sizes.get("B", 1), sizes.get("S", sizes.get("T", 1)), sizes["N"], sizes["D"])


@dataclass(frozen=True)
class FiaCall:
    """The arguments that are modelled, with the names and meanings of the v1 schema.

    Attributes:
        query, key, value: fp16, bf16 (fp32 off-device) in `input_layout`, or a paged cache for key and value.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    pse_shift: Tensor | None
    atten_mask: Tensor | None
    actual_seq_lengths: Sequence[int] | None
    actual_seq_lengths_kv: Sequence[int] | None
    block_table: Tensor | None
    num_heads: int
    num_key_value_heads: int
    scale: float
    pre_tokens: int
    next_tokens: int
    input_layout: str
    sparse_mode: int
    inner_precise: int
    block_size: int
    softmax_lse_flag: bool
    learnable_sink: Tensor | None = None  # v2 only

    @property
    def kv_heads(self) -> int:
        """KVN; `num_key_value_heads` 0 means as many as query heads."""
        return self.num_key_value_heads or self.num_heads

    @property
    def layout(self) -> str:
        """Axis order of the inputs: `BNSD` for `BNSD_BSND`."""
        return self.input_layout.partition("_")[0]

    @property
    def is_packed(self) -> bool:
        """Whether requests are concatenated along one T axis."""
        return self.input_layout in PACKED

    @cached_property
    def query_axes(self) -> Axes:
        """Sizes of the query."""
        return axes(self.query, self.layout, self.num_heads)

    @cached_property
    def num_requests(self) -> int:
        """B, or the number of query lengths of a packed call."""
        return len(self.actual_seq_lengths or ()) if self.is_packed else self.query_axes.batch

    @cached_property
    def query_lens(self) -> list[int]:
        """Query rows in use, per request."""
        if self.is_packed:
            return differences(self.actual_seq_lengths or ())
        if self.is_decode:
            return [1] * self.num_requests  # the decode path ignores the query lengths
        return spread(self.actual_seq_lengths, self.num_requests, self.query_axes.length)

    @cached_property
    def kv_lens(self) -> list[int]:
        """Keys in use, per request."""
        if self.is_packed and self.block_table is None:
            return differences(self.actual_seq_lengths_kv or ())
        return spread(self.actual_seq_lengths_kv, self.num_requests, self.kv_capacity)

    @cached_property
    def kv_axes(self) -> Axes:
        """Sizes of a contiguous key tensor; meaningless with a block table."""
        return axes(self.key, self.layout, self.kv_heads)

    @cached_property
    def value_axes(self) -> Axes:
        """Sizes of a contiguous value tensor; meaningless with a block table."""
        return axes(self.value, self.layout, self.kv_heads)

    @cached_property
    def kv_capacity(self) -> int:
        """Keys that a request can have: KV_S, T, or table width times block size."""
        if self.block_table is not None:
            return int(self.block_table.shape[-1]) * self.block_size
        return self.kv_axes.length

    @property
    def is_decode(self) -> bool:
        """Whether the call takes the path for one query row per request."""
        return self.input_layout in DENSE and self.query_axes.length == 1

    @cached_property
    def padded_rows(self) -> int:
        """Query rows per request once every request has its own row."""
        return max(self.query_lens, default=0) if self.is_packed else self.query_axes.length

    @cached_property
    def padded_columns(self) -> int:
        """Key columns per request once gathered: those of the longest request, in whole blocks if paged."""
        longest = max(self.kv_lens, default=0)
        return longest if self.block_table is None else -(-longest // self.block_size) * self.block_size


def spread(lengths: Sequence[int] | None, count: int, default: int) -> list[int]:
    """Return `count` lengths: all `default`, one value for all, or the first `count` given."""
    if lengths is None:
        return [default] * count
    return [int(lengths[0])] * count if len(lengths) == 1 else [int(length) for length in lengths[:count]]
