"""Experts in groups, one expert after the other: a score over all of them, the best of each group works."""

from __future__ import annotations

import torch
from torch import Tensor

from reference.arithmetic import Arithmetic, Weights, at_least_float32, linear
from reference.attention import gated_mlp
from tracing.models import Experts


def mlp(x: Tensor, weights: Weights, prefix: str, experts: Experts | None, arithmetic: Arithmetic) -> Tensor:
    """Return what the second half of a block gives, `[R, hidden]`: an MLP, or experts in its place."""
    if experts is None:
        return gated_mlp(x, weights, prefix, arithmetic)
    logits = linear(x, weights, f"{prefix}.gate", arithmetic)
    shares = expert_shares(logits, weights[f"{prefix}.router_scale"], experts)
    shared = gated_mlp(x, weights, f"{prefix}.shared_expert", arithmetic)
    given = torch.zeros_like(arithmetic.working(x))
    for expert in range(experts.num_experts):
        rows = shares[:, expert].nonzero()[:, 0]
        if len(rows):
            own = gated_mlp(x[rows], weights, f"{prefix}.experts.{expert}", arithmetic)
            given[rows] += arithmetic.working(own) * shares[rows, expert, None].to(given.dtype)
    return arithmetic.settled(given, x.dtype) + shared


def expert_shares(logits: Tensor, router_scale: Tensor, experts: Experts) -> Tensor:
    """Return the weight of every expert for every row, 0 where it does not work, `[R, num_experts]`.

    Args:
        logits: Of the router, `[R, num_experts]`.
        router_scale: Factor on each expert's score, `[1, num_experts]`.
        experts: How many, in how many groups.
    """
    scores = torch.softmax(logits.to(at_least_float32(logits.dtype)), dim=-1)
    shares = torch.zeros_like(scores)
    for first in range(0, experts.num_experts, experts.group_size):
        group = scores[:, first : first + experts.group_size]
        for row, best in enumerate(group.argmax(dim=-1).tolist()):
            shares[row, first + best] = group[row, best] * router_scale[0, first + best]
    return shares
