"""Attention of both models: the fused operator, its eager stand-in, and what the operator was given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from workbench.fused.masks import blocked_from_visible, causal_template, causal_visible
from workbench.npu import calls

OPERATOR: Final = "npu_fused_infer_attention_score"


@dataclass(slots=True)
class AttentionCall:
    """How one forward wants its attention, and what the first layer handed to the operator.

    Attributes:
        fused: Call the operator; otherwise plain torch.
        causal: The queries are the last rows of an ordinary sequence; without it a mask decides.
        given: The mask object of the first layer (later ones get the same); None when it got none.
        num_keys: Key rows of the first layer.
        kernel: How the first layer ran: operator, layout, sparse mode, mask dtype and shape, way in.
    """

    fused: bool
    causal: bool = False
    given: Tensor | None = field(default=None, repr=False)
    num_keys: int = 0
    kernel: str = ""

    def note(self, given: Tensor | None, num_keys: int, name: str, **options: Any) -> None:
        """Keep what the first layer of this forward was given, and its call as one line."""
        if not self.kernel:
            self.given, self.num_keys = given, num_keys
            self.kernel = calls.kernel_text(name, options)


def attend(
    query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None, call: AttentionCall, *, scale: float
) -> Tensor:
    """Return attention output.

    Args:
        query: `[1, H, Q, D]`, usually a view of `[1, Q, H, D]` memory.
        key: `[1, H_kv, KV, D]`, likewise.
        value: As key.
        blocked: bool `[1, 1, Q, KV]`, True is left out; None when `call.causal`, or when all is visible.
        call: Fused or not, causal or not; learns what ran.
        scale: Factor on the scores; the operator's own default of 1.0 is never right.

    Returns:
        `[1, Q, H, D]`.
    """
    if not call.fused:
        return _attend_eager(query, key, value, blocked, call=call, scale=scale)
    if query.shape[2] == 1:
        return _attend_one_row(query, key, value, blocked, call=call, scale=scale)
    options: dict[str, Any] = {"sparse_mode": 0, "inner_precise": 0}
    if call.causal:
        blocked, options["sparse_mode"] = causal_template(query.device), 3
    elif blocked is not None:
        options["inner_precise"] = 2  # pads see nothing: the operator is to return 0 for such rows
    options["atten_mask"] = blocked
    call.note(blocked, key.shape[2], OPERATOR, input_layout="BSND", **options)
    return _launch(query, key, value, scale, **options)


def _attend_one_row(
    query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None, *, call: AttentionCall, scale: float
) -> Tensor:
    """One row takes the decoding kernel, which is not to be trusted with a mask: hidden keys are dropped."""
    call.note(blocked, key.shape[2], OPERATOR, input_layout="BSND", sparse_mode=0)
    if blocked is not None and bool(blocked.any()):
        columns = torch.logical_not(blocked[0, 0, 0]).nonzero()[:, 0]
        key, value = key.index_select(2, columns), value.index_select(2, columns)
    return _launch(query, key, value, scale, actual_seq_lengths_kv=[key.shape[2]])


def _launch(query: Tensor, key: Tensor, value: Tensor, scale: float, **options: Any) -> Tensor:
    """Call the operator in layout BSND; caches lie in memory that way, so that nothing is copied."""
    output, _ = calls.npu_fused_infer_attention_score(
        query.transpose(1, 2).contiguous(),
        key.transpose(1, 2).contiguous(),
        value.transpose(1, 2).contiguous(),
        num_heads=query.shape[1],
        num_key_value_heads=key.shape[1],
        scale=scale,
        input_layout="BSND",
        **options,
    )
    return output


def _attend_eager(
    query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None, *, call: AttentionCall, scale: float
) -> Tensor:
    """Plain torch, softmax in float32; a row with nothing visible is 0, as the operator repairs it."""
    num_queries, num_keys = query.shape[2], key.shape[2]
    if call.causal:
        blocked = blocked_from_visible(causal_visible(num_queries, num_keys, 0, query.device))
    call.note(blocked, num_keys, "eager_attention", atten_mask=blocked)
    group = query.shape[1] // key.shape[1]
    scores = (query @ key.repeat_interleave(group, dim=1).transpose(2, 3)).float() * scale
    if blocked is not None:
        scores = scores.masked_fill(blocked, torch.finfo(torch.float32).min)
    weights = scores.softmax(dim=-1)
    if blocked is not None:
        weights = weights.masked_fill(blocked, 0.0)
    output = weights.to(query.dtype) @ value.repeat_interleave(group, dim=1)
    return output.transpose(1, 2).contiguous()
