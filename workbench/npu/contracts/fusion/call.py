"""The schema of `npu_fusion_attention`, spelled out once, read into a `FusionCall`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from workbench.npu.contracts.fia.call import UNBOUNDED
from workbench.npu.contracts.rules import NotModelledError

FUSION: Final = "npu_fusion_attention"


@dataclass(frozen=True, slots=True)
class FusionCall:
    """One call.

    Attributes:
        query: In `layout`; once checked [B, S, N, D], or [1, T, N, D] in TND.
        key: As the query, with KVN heads.
        value: As the key, with its own head dim.
        mask: `atten_mask`; once checked bool [1 or B, 1 or N, S, S_kv] or None.
        head_num: N.
        layout: `input_layout`.
        scale: Factor on QK^T.
        sparse_mode: 0 to 3.
        inner_precise: 0, 1 or 2.
        query_lens: `actual_seq_qlen`, running totals; once checked rows per request in TND.
        kv_lens: As `query_lens`, for keys.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    head_num: int
    layout: str
    scale: float
    sparse_mode: int
    inner_precise: int
    query_lens: Sequence[int] | None
    kv_lens: Sequence[int] | None

    @property
    def is_packed(self) -> bool:
        """Whether requests lie behind each other along T."""
        return self.layout == "TND"

    @property
    def repairs_rows(self) -> bool:
        """Whether rows with nothing to see become zero."""
        return self.inner_precise == 2


def read_call(  # noqa: PLR0917  # the vendor's schema
    query: Tensor,
    key: Tensor,
    value: Tensor,
    head_num: int,
    input_layout: str,
    pse: Tensor | None = None,
    padding_mask: Tensor | None = None,
    atten_mask: Tensor | None = None,
    scale: float = 1.0,
    keep_prob: float = 1.0,
    pre_tockens: int = UNBOUNDED,
    next_tockens: int = UNBOUNDED,
    inner_precise: int = 0,
    prefix: Sequence[int] | None = None,
    actual_seq_qlen: Sequence[int] | None = None,
    actual_seq_kvlen: Sequence[int] | None = None,
    sparse_mode: int = 0,
    gen_mask_parallel: bool = True,
    sync: bool = False,
    softmax_layout: str = "",
    sink: Tensor | None = None,
    dropout_mask: Tensor | None = None,
    seed: int = 0,
    offset: int = 0,
) -> FusionCall:
    """Read a call of `npu_fusion_attention`.

    Raises:
        NotModelledError: for bias, dropout, prefix, sink, bands and the modes 4 to 8.
    """
    del gen_mask_parallel, sync, seed, offset  # how dropout is generated; nothing without dropout
    banded = sparse_mode == 0 and (pre_tockens, next_tockens) != (UNBOUNDED, UNBOUNDED)
    given = {
        "pse": pse is not None,
        "padding_mask": padding_mask is not None,
        "prefix": prefix is not None,
        "sink": sink is not None,
        "dropout_mask": dropout_mask is not None,
        "softmax_layout": bool(softmax_layout),
        "keep_prob": keep_prob != 1,
        "sparse_mode": 4 <= sparse_mode <= 8,
        "pre_tockens": banded,
    }
    if used := [name for name, is_given in given.items() if is_given]:
        raise NotModelledError(
            f"{FUSION}: {', '.join(used)} may be legal on the device, but the contract covers attention "
            "without bias and dropout in sparse modes 0 to 3 only; nothing was checked"
        )
    return FusionCall(
        query=query,
        key=key,
        value=value,
        mask=atten_mask,
        head_num=head_num,
        layout=input_layout,
        scale=scale,
        sparse_mode=sparse_mode,
        inner_precise=inner_precise,
        query_lens=actual_seq_qlen,
        kv_lens=actual_seq_kvlen,
    )
