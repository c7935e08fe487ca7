"""The drafters: log-probabilities of the next token behind the root and any path below it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.reduce.plain.comparing import Config, Weights
from workbench.reduce.plain.operators import linear, near, norm
from workbench.reduce.plain.teacher import causal, layer, run_model

Path = tuple[int, ...]
After = Callable[[Path], Tensor]
"""Tokens below the root to log-probabilities over the draft vocabulary."""


def after_eagle3(
    committed: list[int], root: int, features: Tensor, weights: Weights, config: Config
) -> After:
    """An EAGLE-3 drafter: row j reads the teacher's feature j and the embedding of token j + 1.

    Below the root there are no features of the teacher: a row reads what the row before it gave.
    """

    def row(
        token_ids: list[int], inputs: Tensor, first: int, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        positions = torch.arange(first + len(token_ids))
        asking = positions[first:]
        embedded = weights["embed_tokens.weight"][token_ids]
        normed = norm(inputs, weights, "midlayer.hidden_norm", config)
        both = torch.cat([norm(embedded, weights, "midlayer.input_layernorm", config), normed], dim=-1)
        residual = normed if config["norm_before_residual"] else inputs
        seen = causal(len(positions))[first:] & near(asking, positions, config["window"])
        rotary_ids = asking + config["rotary_offset"]
        x, key, value = layer(residual, both, rotary_ids, seen, weights, "midlayer", config, past)
        final = norm(x, weights, "norm", config)
        logprobs = linear(final, weights, "lm_head")[-1].log_softmax(dim=-1)
        return final if config["norm_output"] else x, logprobs, key, value

    fused = features
    if config["fc_norm"]:
        parts = [
            norm(part, weights, f"fc_norm.{number}", config)
            for number, part in enumerate(features.chunk(3, dim=-1))
        ]
        fused = torch.cat(parts, dim=-1)
    if config["norm_before_fc"]:
        fused = norm(fused, weights, "input_norm", config)
    begun = row([*committed[1:], root], linear(fused, weights, "fc"), 0, None)

    def after(path: Path) -> Tensor:
        handed, logprobs, keys, values = begun
        for token in path:
            handed, logprobs, key, value = row([token], handed[-1:], len(keys), (keys, values))
            keys, values = torch.cat([keys, key]), torch.cat([values, value])
        return logprobs

    return after


def after_model(committed: list[int], root: int, weights: Weights, config: Config) -> After:
    """A draft model: an ordinary language model over the text and the path."""

    def after(path: Path) -> Tensor:
        tokens = torch.tensor([*committed, root, *path])
        positions = torch.arange(len(tokens)) + config["rotary_offset"]
        rows = run_model(tokens, positions, causal(len(tokens)), weights, config)
        return rows["logits"][-1].log_softmax(dim=-1)

    return after


def search(after: After, target_ids: list[int], depth: int, top_k: int) -> list[tuple[Path, float]]:
    """Grow a tree: the best `top_k` tokens of each beam, the best `top_k` of these are the next beams.

    Returns:
        All candidates in order of their number: path below the root, log-probability.
    """
    beams: list[tuple[Path, float]] = [((), 0.0)]
    everything: list[tuple[Path, float]] = []
    for _ in range(depth + 1):
        level = []
        for path, score in beams:
            logprobs = after(path)
            order = torch.sort(logprobs, descending=True, stable=True).indices[:top_k].tolist()
            level += [((*path, target_ids[draft]), score + float(logprobs[draft])) for draft in order]
        beams = sorted(level, key=lambda candidate: -candidate[1])[:top_k]
        everything += level
    return everything


def as_tree(root: int, everything: list[tuple[Path, float]], nodes: int) -> dict[str, Tensor]:
    """Return all candidates, and the best `nodes` of them as a tree: in order, the root first."""
    ranked = sorted(range(len(everything)), key=lambda number: -everything[number][1])
    found = [everything[number] for number in sorted(ranked[:nodes])]
    place = {(): 0} | {path: number for number, (path, _) in enumerate(found, start=1)}
    return {
        "token_ids": torch.tensor([root, *(path[-1] for path, _ in found)]),
        "parents": torch.tensor([0, *(place[path[:-1]] for path, _ in found)]),
        "logprobs": torch.tensor([0.0, *(score for _, score in found)], dtype=torch.float64),
        "candidate_token_ids": torch.tensor([path[-1] for path, _ in everything]),
        "candidate_logprobs": torch.tensor([score for _, score in everything], dtype=torch.float64),
    }


def medusa(
    root: int, hidden: Tensor, paths: list[Path], target_ids: list[int], weights: Weights, config: Config
) -> dict[str, Tensor]:
    """Medusa: head i ranks the tokens at depth i + 1; a fixed tree says which ranks are tried."""
    heads = []
    for head in range(config["num_heads"]):
        x = hidden
        for number in range(config["num_layers"]):
            x = x + torch.nn.functional.silu(linear(x, weights, f"blocks.{head}.layers.{number}"))
        name = "lm_head" if config["shared_head"] else f"lm_heads.{head}"
        heads.append((linear(x, weights, name) * config["logit_scale"]).log_softmax(dim=-1))
    ranked = [torch.sort(row, descending=True, stable=True).indices.tolist() for row in heads]
    tokens, parents, scores = [root], [0], [0.0]
    for path in paths:
        draft = ranked[len(path) - 1][path[-1]]
        above = 0 if len(path) == 1 else 1 + paths.index(path[:-1])
        tokens.append(target_ids[draft])
        parents.append(above)
        scores.append(scores[above] + float(heads[len(path) - 1][draft]))
    return {
        "token_ids": torch.tensor(tokens),
        "parents": torch.tensor(parents),
        "logprobs": torch.tensor(scores, dtype=torch.float64),
    }
