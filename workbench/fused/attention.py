"""Attention of both models: the fused operator, its eager replacement, and what the operator was given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from workbench.fused.cache.pages import Pages
from workbench.fused.eager_attention import EagerMasks, attend_on_cpu, step_by_step
from workbench.fused.experts import LayerRouting
from workbench.fused.masks import causal_template
from workbench.fused.seen import Seen
from workbench.npu import dispatch

OPERATOR: Final = "npu_fused_infer_attention_score"


@dataclass(slots=True)
class AttentionCall:
    """How one forward wants its attention, and what the first layer handed to the operator.

    Attributes:
        fused: Call the operator; otherwise plain torch.
        causal: The queries are the last rows of an ordinary sequence where a layer is given no mask.
        pages: Where keys and values lie; None when they come in order.
        given: The mask object of the first layer (later ones with its window get the same), or None.
        num_keys: Key rows of the first layer.
        seen: Where the tensors of the forward are told, or None.
        routing: Which experts worked, layer by layer; empty for a model without.
        masks: As eager attention takes them.
        kernel: How the first layer ran: operator, layout, sparse mode, mask dtype and shape, backend.
    """

    fused: bool
    causal: bool = False
    pages: Pages | None = None
    seen: Seen | None = None
    routing: list[LayerRouting] = field(default_factory=list, repr=False)
    given: Tensor | None = field(default=None, repr=False)
    num_keys: int = 0
    kernel: str = ""
    masks: EagerMasks = field(default_factory=EagerMasks, repr=False)

    def note(self, given: Tensor | None, num_keys: int, name: str, **options: Any) -> None:
        """Keep what the first layer of this forward was given, and its call as one line."""
        if not self.kernel:
            self.given, self.num_keys = given, num_keys
            self.kernel = dispatch.kernel_text(name, options)

    def tell(self, seen: Seen, query: Tensor, keys: Tensor, values: Tensor, blocked: Tensor | None) -> None:
        """Tell what the attention of one layer was given.

        Args:
            seen: Of the layer.
            query: After rotary, `[1, R, H, D]`.
            keys: As `attend` is given them.
            values: As `attend` is given them.
            blocked: As `attend` is given it.
        """
        if self.pages is not None:
            keys, values = (self.pages.in_order(blocks, query.shape[3]) for blocks in (keys, values))
        visible = None if blocked is None else torch.logical_not(blocked[0, 0, :, : keys.shape[1]].bool())
        seen(query=query, keys=keys[0], values=values[0], visible=visible)


def attend(
    query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None, call: AttentionCall, *, scale: float
) -> Tensor:
    """Return attention output, `[1, Q, H, D]`.

    Args:
        query: `[1, Q, H, D]`.
        key: `[1, KV, H_kv, D]`; with `call.pages` all blocks, `[blocks, block_size, H_kv * D]`.
        value: As key.
        blocked: bool `[1, 1, Q, KV]`, True is left out; None when `call.causal`, or when all is visible. With
            `call.pages` it has a column for each row of the table, those without a key left out.
        call: Fused or not, causal or not; learns what ran.
        scale: Factor on the scores; the operator's own default of 1.0 is never right.
    """
    if not call.fused:
        if call.pages is not None:
            key, value = (call.pages.in_order(blocks, query.shape[3]) for blocks in (key, value))
        return _attend_eager(query, key, value, blocked, call=call, scale=scale)
    if query.shape[1] == 1:
        return _attend_one_row(query, key, value, blocked, call=call, scale=scale)
    options: dict[str, Any] = {"sparse_mode": 0, "inner_precise": 0, "atten_mask": blocked}
    if blocked is not None:
        options["inner_precise"] = 2  # pads see nothing: the operator is to return 0 for such rows
    elif call.causal:
        options |= {"sparse_mode": 3, "atten_mask": causal_template(query.device)}
    if call.pages is not None:
        return _launch_paged(query, key, value, call, scale=scale, **options)
    call.note(options["atten_mask"], key.shape[1], OPERATOR, input_layout="BSND", **options)
    return _launch(query, key, value, scale, **options)


def _attend_one_row(
    query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None, *, call: AttentionCall, scale: float
) -> Tensor:
    """One row takes the decoding kernel, which is not to be trusted with a mask: hidden keys are dropped."""
    pages = call.pages
    num_keys = key.shape[1] if pages is None else pages.num_keys
    hidden = None if blocked is None else blocked[0, 0, 0, :num_keys]
    drops = hidden is not None and bool(hidden.any())
    if pages is not None:
        if not drops:
            return _launch_paged(query, key, value, call, scale=scale, given=blocked, sparse_mode=0)
        key, value = (pages.in_order(blocks, query.shape[3]) for blocks in (key, value))
    call.note(blocked, num_keys, OPERATOR, input_layout="BSND", sparse_mode=0)
    if hidden is not None and drops:
        columns = torch.logical_not(hidden).nonzero()[:, 0]
        key, value = key.index_select(1, columns), value.index_select(1, columns)
    return _launch(query, key, value, scale, actual_seq_lengths_kv=[key.shape[1]])


def _launch_paged(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    call: AttentionCall,
    *,
    scale: float,
    given: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Call the operator on blocks; the layout is the query's, the form of the cache is found by its rank.

    Key and value are `[blocks, block_size, H_kv * D]`; `given` decides who attends to whom where the operator
    gets no mask.
    """
    pages = call.pages
    assert pages is not None
    options |= {"block_table": pages.block_table, "block_size": pages.block_size}
    mask = options.get("atten_mask")
    call.note(given if mask is None else mask, pages.num_keys, OPERATOR, input_layout="BSND", **options)
    return _launch(query, key, value, scale, actual_seq_lengths_kv=[pages.num_keys], **options)


def _launch(query: Tensor, key: Tensor, value: Tensor, scale: float, **options: Any) -> Tensor:
    """Call the operator in layout BSND; the number of key heads follows from the size of a key row."""
    output, _ = dispatch.npu_fused_infer_attention_score(
        query.contiguous(),
        key.contiguous(),
        value.contiguous(),
        num_heads=query.shape[2],
        num_key_value_heads=key.shape[2:].numel() // query.shape[3],
        scale=scale,
        input_layout="BSND",
        **options,
    )
    return output


def _attend_eager(
    query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None, *, call: AttentionCall, scale: float
) -> Tensor:
    """Plain torch; a row with nothing visible is 0, as the operator repairs it."""
    num_queries, num_keys = query.shape[1], key.shape[1]
    whole = call.causal and blocked is None and num_queries == num_keys
    if call.causal and not whole and blocked is None and num_queries > 1:  # the last row sees all others
        blocked = call.masks.causal(num_queries, num_keys, query.device)
    call.note(blocked, num_keys, "eager_attention", atten_mask=blocked)
    if query.device.type == "cpu":
        return attend_on_cpu(query, key, value, blocked, call.masks, whole=whole, scale=scale)
    # Torch's attention calls a device's own kernel: nothing would be eager.
    if whole:
        blocked = call.masks.causal(num_queries, num_keys, query.device)
    return step_by_step(query, key, value, blocked, scale)
