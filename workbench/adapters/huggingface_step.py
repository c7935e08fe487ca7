"""One step of assisted generation as trace columns, and what its attention was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.adapters.verify_rows import logit_columns

Columns = dict[str, Any]


def chain_columns(context: Sequence[int], candidates: Sequence[int]) -> Columns:
    """Return the tree of a step: the last token of the context, then one candidate below the other.

    Args:
        context: Everything so far; its last token is the root, the others are committed.
        candidates: Drafted tokens; may be none.
    """
    num_nodes, committed_len = len(candidates) + 1, len(context) - 1
    nodes = np.arange(num_nodes)
    return {
        "committed_len": committed_len,
        "token_ids": np.array([context[-1], *candidates], dtype=np.int64),
        "parents": np.maximum(nodes - 1, 0),
        "depths": nodes,
        "valid": np.ones(num_nodes, dtype=np.bool_),
        "cache_positions": committed_len + nodes,
    }


def accept_columns(
    tokens: Sequence[int], num_accepted: int, eos_token_ids: Sequence[int], *, is_full: bool
) -> Columns:
    """Return what was kept: the cache is cropped to its new length.

    Args:
        tokens: Everything after the step; the last token is the next root.
        num_accepted: A.
        eos_token_ids: Tokens that end the generation.
        is_full: The length limit is reached.
    """
    committed_len = len(tokens) - num_accepted - 2
    emitted = np.array(tokens[committed_len + 1 :], dtype=np.int64)
    stop_reason = "length" if is_full else None
    if int(emitted[-1]) in eos_token_ids:
        stop_reason = "eos"
    return {
        "accepted_nodes": np.arange(1, num_accepted + 1),
        "final_token_id": int(emitted[-1]),
        "emitted_token_ids": emitted,
        "path_indices": committed_len + np.arange(num_accepted + 1),
        "committed_len_after": committed_len + num_accepted + 1,
        "commit_mode": "length",
        **({} if stop_reason is None else {"stop_reason": stop_reason}),
    }


def score_columns(scores: Any, config: Any, top_logits: int, *, is_processed: bool) -> Columns:
    """Return the scores of a step's rows, and the choice where it is the best of them.

    Args:
        scores: `[N, V]`, after the processors.
        config: Of the generation. Drawn tokens, and those of a mixture with the assistant's law, are no best.
        top_logits: K to keep.
        is_processed: Whether there are processors. Then scores that were drawn from are not recorded.
    """
    if config.do_sample and is_processed:
        return {}
    columns = logit_columns(scores, top_logits)
    if config.do_sample or getattr(config, "assistant_ensemble_weight", None) is not None:
        del columns["target_token_ids"]
    return {**columns, "logits_kind": "processed" if is_processed else "raw"}


class HookedLayer:
    """Keeps what the first decoder layer was last given: positions and the mask of its attention.

    Attributes:
        position_ids: int `[rows]`, or None where the layer does not get them.
        visible: bool `[rows, columns]`, True attends, or None where that is not known.
        window: Tokens that the layer lets a query see, 0 for all.
    """

    def __init__(self, model: Any, window: int = 0) -> None:
        decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
        layers = getattr(decoder, "layers", None)
        self._layer = layers[0] if layers is not None and len(layers) else None
        self._handle: Any = None
        self.window = window
        self.position_ids: NDArray[Any] | None = None
        self.visible: NDArray[np.bool_] | None = None

    def __enter__(self) -> HookedLayer:
        if self._layer is not None:
            self._handle = self._layer.register_forward_pre_hook(self._see, with_kwargs=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.remove()

    def forget(self) -> None:
        """Forget the step before."""
        self.position_ids = self.visible = None

    def _see(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read positions and mask; only reads."""
        position_ids, mask = kwargs.get("position_ids"), kwargs.get("attention_mask")
        num_rows = args[0].shape[1] if args else kwargs["hidden_states"].shape[1]
        if position_ids is not None:
            self.position_ids = position_ids[0].cpu().numpy()
        self.visible = _visible(mask, int(num_rows), self.position_ids)


def _visible(mask: Any, num_rows: int, position_ids: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    """Return who sees whom from a mask as attention gets it: bool, additive, or none at all.

    Without a mask attention is causal over square inputs, and a single row sees everything; for other shapes
    nothing can be recorded.
    """
    if mask is not None and mask.ndim == 4:
        table = mask[0, 0]
        attends = table if str(table.dtype) == "torch.bool" else table == 0
        return np.asarray(attends.cpu().numpy(), dtype=np.bool_)
    if mask is None and position_ids is not None:
        num_columns = int(position_ids[-1]) + 1
        if num_rows == num_columns:
            return np.tril(np.ones((num_rows, num_rows), dtype=np.bool_))
        if num_rows == 1:
            return np.ones((1, num_columns), dtype=np.bool_)
    return None


def seen_columns(layer: HookedLayer, committed_len: int, num_nodes: int) -> Columns:
    """Return positions and visibility of the tree's rows, the last of what the layer was given."""
    columns: Columns = {}
    if layer.position_ids is not None and len(layer.position_ids) >= num_nodes:
        columns["position_ids"] = layer.position_ids[-num_nodes:]
    if layer.visible is None:
        return columns
    rows, num_keys = layer.visible[-num_nodes:], layer.visible.shape[1]
    dropped = max(committed_len + num_nodes - num_keys, 0)
    start = committed_len - dropped
    if start >= 0 and (not dropped or layer.window):  # a cache with a window keeps the last keys only
        end = start + num_nodes
        columns["visible"] = rows[:, start:end]
        columns["prefix_visible"] = rows[:, :start].sum(axis=1)
        columns["other_visible"] = rows[:, end:].sum(axis=1)
    return columns
