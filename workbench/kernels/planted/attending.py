"""Mistakes of attention: masks, tiles of keys, pages, heads, statistics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workbench.kernels.planted.bug import plant, sound

FIA, FUSION = "npu_fused_infer_attention_score", "npu_fusion_attention"
FIA_V2 = f"{FIA}_v2"
LIMIT = 512
TILE = 128


@plant(FIA, "keys512")
def mask_ends_at_512(**call: Any) -> Any:
    """Entries of the mask past column 512 are ignored: everything there is seen."""
    mask = call.get("atten_mask")
    if mask is None or call.get("sparse_mode", 0) or mask.shape[-1] <= LIMIT:
        return sound(FIA)(**call)
    lengths = call.get("actual_seq_lengths_kv")
    mask = mask.clone()
    mask[..., LIMIT : (max(lengths) if lengths else mask.shape[-1])] = False
    return sound(FIA)(**call | {"atten_mask": mask})


@plant(FIA, "keys512")
def keys_past_512_lost(**call: Any) -> Any:
    """Decoding reads a full tile of 512 keys and never the rest."""
    key = call["key"]
    if call["query"].shape[1] != 1 or call.get("block_table") is not None or key.shape[1] <= LIMIT:
        return sound(FIA)(**call)
    lengths = [min(LIMIT, one) for one in call["actual_seq_lengths_kv"]]
    return sound(FIA)(**call | {"actual_seq_lengths_kv": lengths})


@plant(FIA, "tile")
def maximum_of_first_tile(**call: Any) -> Any:
    """The maximum is that of the first 128 keys: larger scores behind them overflow."""
    if call["input_layout"] != "BSND" or call.get("block_table") is not None or call.get("sparse_mode", 0):
        return sound(FIA)(**call)
    query, key, value = (call[name].float() for name in ("query", "key", "value"))
    group = query.shape[2] // key.shape[2]
    key, value = (one.repeat_interleave(group, 2) for one in (key, value))
    scores = torch.einsum("bsnd,btnd->bnst", query, key) * call["scale"]
    mask = call.get("atten_mask")
    if mask is not None:
        scores = scores.masked_fill(mask[..., : scores.shape[2], : scores.shape[3]].bool(), -1e12)
    for row, length in enumerate(call.get("actual_seq_lengths_kv") or []):
        scores[row, ..., length:] = -1e12
    weights = torch.exp(scores - scores[..., :TILE].amax(-1, keepdim=True)).to(call["query"].dtype).float()
    out = torch.einsum("bnst,btnd->bsnd", weights / weights.sum(-1, keepdim=True), value.nan_to_num())
    return out.to(call["query"].dtype), torch.empty(0)


@plant(FIA, "value")
def mask_upside_down(**call: Any) -> Any:
    """True attends, where True is to be left out; the operator's own check of that is not run."""
    mask = call.get("atten_mask")
    if mask is None or call.get("sparse_mode", 0):
        return sound(FIA)(**call)
    from workbench.npu.modes import use_mode

    with use_mode("hardware"):
        return sound(FIA)(**call | {"atten_mask": mask.logical_not()})


@plant(FIA, "value")
def scale_forgotten(**call: Any) -> Any:
    """Scores are scaled by 1 over D and not over its root."""
    return sound(FIA)(**call | {"scale": call["scale"] ** 2})


@plant(FIA, "value")
def heads_by_remainder(**call: Any) -> Any:
    """Query head h reads key head h mod H_kv, not h // group."""
    query, count, kv_heads = call["query"], call["num_heads"], call["num_key_value_heads"]
    group = count // kv_heads
    if call["input_layout"] not in {"BSND", "TND"} or group == 1:
        return sound(FIA)(**call)
    order = torch.arange(count).view(group, kv_heads).t().flatten()
    out, lse = sound(FIA)(**call | {"query": query[..., order, :].contiguous()})
    return out[..., order.argsort(), :].contiguous(), lse


@plant(FIA, "tile")
def first_table_for_all(**call: Any) -> Any:
    """Every request of a batch reads the blocks of the first."""
    table = call.get("block_table")
    if table is None or len(table) == 1 or int(table[0].min()) < 0:  # the operator's own check would stop it
        return sound(FIA)(**call)
    return sound(FIA)(**call | {"block_table": table[:1].expand_as(table).contiguous()})


@plant(FIA, "nan")
def stale_rows_leak(**call: Any) -> Any:
    """Weights of 0 meet the rows past a request's length: NaN there becomes NaN in the output."""
    out, lse = sound(FIA)(**call)
    stale = bool(call["value"].isnan().any())
    return (torch.full_like(out, float("nan")) if stale else out), lse


@plant(FIA, "nan")
def pads_are_nan(**call: Any) -> Any:
    """A row that sees nothing is 0 / 0."""
    out, lse = sound(FIA)(**call)
    mask = call.get("atten_mask")
    if mask is not None and call["input_layout"] == "BSND" and not call.get("sparse_mode", 0):
        out[mask.bool().all(-1).view(-1, out.shape[1]).expand(len(out), -1)] = float("nan")
    return out, lse


@plant(FIA_V2, "value")
def sink_ignored(**call: Any) -> Any:
    """The sink takes no weight."""
    return sound(FIA_V2)(**call | {"learnable_sink": None})


@plant(FIA_V2, "nan")
def sink_all_nan(**call: Any) -> Any:
    """Every output is NaN, the right shape and dtype."""
    out, lse = sound(FIA_V2)(**call)
    return torch.full_like(out, float("nan")), lse


@plant(FUSION, "form")
def statistics_missing(**call: Any) -> Any:
    """Maximum and sum are not returned."""
    return [sound(FUSION)(**call)[0], *sound(FUSION)(**call)[3:]]


@plant(FUSION, "form")
def statistics_once(**call: Any) -> Any:
    """Maximum and sum come once and not eight times: they would broadcast."""
    out, top, total, *rest = sound(FUSION)(**call)
    return out, top[..., :1].contiguous(), total[..., :1].contiguous(), *rest


@plant(FUSION, "tile")
def last_query_tile_repeats(**call: Any) -> Any:
    """Rows are written in tiles of 16: those of a short last tile repeat its first."""
    out, *rest = sound(FUSION)(**call)
    if call["input_layout"] == "BSND":
        rows: Tensor = out
        start = rows.shape[1] // 16 * 16
        rows[:, start:] = rows[:, start : start + 1].clone()
    return out, *rest
