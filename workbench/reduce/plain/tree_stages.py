"""The stages without a network: arrays of a tree, the accepted path, the rows that are kept."""

from __future__ import annotations

import torch
from torch import Tensor


def tensorize(
    token_ids: list[int], parents: list[int], logprobs: list[float] | None, committed_len: int, rows: int
) -> dict[str, Tensor]:
    """Lay a tree out in rows: nodes first, then pads; a node sees itself and its ancestors."""
    nodes, pads = len(token_ids), rows - len(token_ids)
    depths = [0] * rows
    visible = torch.zeros(rows, rows, dtype=torch.bool)
    for node in range(nodes):
        if node:
            depths[node] = depths[parents[node]] + 1
            visible[node] = visible[parents[node]]
        visible[node, node] = True
    made = {
        "token_ids": torch.tensor([*token_ids, *[0] * pads]),
        "parents": torch.tensor([*parents, *[0] * pads]),
        "depths": torch.tensor(depths),
        "valid": torch.tensor([True] * nodes + [False] * pads),
        "position_ids": torch.tensor([committed_len + depth for depth in depths]),
        "cache_positions": torch.arange(rows) + committed_len,
        "visible": visible,
    }
    if logprobs is not None:
        made["logprobs"] = torch.tensor([*logprobs, *[0.0] * pads])
    return made


def accept(
    token_ids: list[int],
    parents: list[int],
    valid: list[bool],
    choices: list[int],
    remaining: int,
    end_ids: list[int],
    committed_len: int,
) -> dict[str, Tensor]:
    """Follow the teacher's choices down the tree; nothing follows an end of sequence, or the last token."""
    path, emitted = [0], []
    while True:
        wanted = choices[path[-1]]
        emitted.append(wanted)
        if wanted in end_ids or len(emitted) == remaining:
            break
        children = [
            node
            for node in range(1, len(parents))
            if valid[node] and parents[node] == path[-1] and token_ids[node] == wanted
        ]
        if not children:
            break
        path.append(children[0])
    return {
        "accepted_nodes": torch.tensor(path[1:], dtype=torch.int64),
        "final_token_id": torch.tensor(emitted[-1]),
        "emitted_token_ids": torch.tensor(emitted),
        "path_indices": torch.tensor([committed_len + node for node in path]),
    }


def law_of(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Return the law that a token is sampled from, `[V]`: temperature, then top-k, then top-p.

    Top-k keeps equals of the k-th; top-p keeps a token while the more likely ones stay below it.
    """
    scaled = logits / temperature
    if 0 < top_k < len(scaled):
        scaled = scaled.masked_fill(scaled < scaled.sort().values[-top_k], float("-inf"))
    law = scaled.softmax(dim=-1)
    if top_p < 1:
        ordered, order = torch.sort(law, descending=True, stable=True)
        law = torch.zeros_like(law)
        kept = ordered.cumsum(dim=0) - ordered < top_p
        law[order[kept]] = ordered[kept]
    return law / law.sum()


def target_probs(
    token_ids: list[int], parents: list[int], valid: list[bool], logits: Tensor, told: dict[str, float]
) -> Tensor:
    """Return the probability of each node's token after its parent, `[N]`; 1 for the root, 0 for pads."""
    asked = told["temperature"], int(told["sampling_top_k"]), told["top_p"]
    probs = [1.0]
    for node in range(1, len(parents)):
        law = law_of(logits[parents[node]], *asked)
        probs.append(float(law[token_ids[node]]) if valid[node] else 0.0)
    return torch.tensor(probs, dtype=logits.dtype)


def commit(cached: Tensor, committed_len: int, path_indices: list[int]) -> Tensor:
    """Return the rows that are kept: those before the tree, then the path's."""
    return torch.cat([cached[..., :committed_len, :], cached[..., path_indices, :]], dim=-2)


def look_up(
    text: list[int], rule: str, count: int, shortest: int, longest: int, limit: int, end_ids: list[int]
) -> list[int]:
    """Return what followed the last tokens of a text when they came before: longest match, first place."""
    length = len(text)
    if rule == "transformers":
        shortest = 1
        if limit == length + 1:
            return []
    for size in range(min(longest, length - 1), shortest - 1, -1):
        for start in range(length - size):
            if text[start : start + size] != text[length - size :]:
                continue
            after = start + size
            if rule == "vllm":
                return text[after : after + max(min(count, limit - length), 0)]
            found = text[after : min(after + count, length, limit)]
            stops = [place for place, token in enumerate(found) if token in end_ids]
            if found:
                return found[: stops[0]] if stops else found
    return []
