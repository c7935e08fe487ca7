"""Experts in groups, one expert after the other: a score over all of them, the best of each group works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reference.arithmetic import Arithmetic, Weights, at_least_float32, linear
from reference.attention import gated_mlp
from tracing.models import Experts


@dataclass(frozen=True, slots=True)
class Routing:
    """What the routers gave for R rows.

    Attributes:
        logits: Of each layer's router, `[layers, R, num_experts]`.
        expert_ids: Experts that worked, one per group and so ascending, int64 `[layers, R, num_groups]`.
    """

    logits: Tensor
    expert_ids: Tensor

    @classmethod
    def of_layers(cls, layers: Sequence[tuple[Tensor, Tensor]]) -> Routing | None:
        """Return the routing of a forward from logits and ids of its layers; None without experts."""
        return cls(*map(torch.stack, zip(*layers, strict=True))) if layers else None

    def rows(self, first: int, end: int | None = None) -> Routing:
        """Return some of the rows."""
        return Routing(self.logits[:, first:end], self.expert_ids[:, first:end])

    def followed_by(self, after: Routing) -> Routing:
        """Return these rows and then those of another."""
        logits = torch.cat([self.logits, after.logits], dim=1)
        return Routing(logits, torch.cat([self.expert_ids, after.expert_ids], dim=1))

    def own_ids(self) -> Tensor:
        """Return the best of each group by the logits, of equals the first, `[layers, R, num_groups]`."""
        layers, rows, num_groups = self.expert_ids.shape
        by_group = self.logits.reshape(layers, rows, num_groups, -1)
        firsts = torch.arange(num_groups, device=by_group.device) * by_group.shape[-1]
        return by_group.argmax(dim=-1) + firsts


def mlp(x: Tensor, weights: Weights, prefix: str, experts: Experts | None, arithmetic: Arithmetic) -> Tensor:
    """Return what the second half of a block gives, `[R, hidden]`: an MLP, or experts in its place."""
    if experts is None:
        return gated_mlp(x, weights, prefix, arithmetic)
    return experts_mlp(x, weights, prefix, experts, arithmetic)[0]


def experts_mlp(
    x: Tensor,
    weights: Weights,
    prefix: str,
    experts: Experts,
    arithmetic: Arithmetic,
    *,
    chosen: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return what the experts give, `[R, hidden]`, and the router's logits and the experts that worked.

    Args:
        x: Normed rows, `[R, hidden]`.
        weights: Of the teacher.
        prefix: Name of the layer's experts among them.
        experts: How many, in how many groups.
        arithmetic: Order of sums.
        chosen: Experts that have to work, one per group, int64 `[R, num_groups]`; -1 leaves the choice to
            the scores.
    """
    logits = linear(x, weights, f"{prefix}.gate", arithmetic)
    shares = expert_shares(logits, weights[f"{prefix}.router_scale"], experts, chosen)
    shared = gated_mlp(x, weights, f"{prefix}.shared_expert", arithmetic)
    given = torch.zeros_like(arithmetic.working(x))
    for expert in range(experts.num_experts):
        rows = (shares.expert_ids == expert).nonzero()[:, 0]
        if len(rows):
            own = gated_mlp(x[rows], weights, f"{prefix}.experts.{expert}", arithmetic)
            given[rows] += arithmetic.working(own) * shares.weights[rows, expert, None].to(given.dtype)
    return arithmetic.settled(given, x.dtype) + shared, (logits, shares.expert_ids)


@dataclass(frozen=True, slots=True)
class Shares:
    """Who works on each row.

    Attributes:
        weights: Of every expert, 0 where it does not work, `[R, num_experts]`.
        expert_ids: Those that do, one per group, int64 `[R, num_groups]`.
    """

    weights: Tensor
    expert_ids: Tensor


def expert_shares(
    logits: Tensor, router_scale: Tensor, experts: Experts, chosen: Tensor | None = None
) -> Shares:
    """Return who works on every row, and with which weight.

    Args:
        logits: Of the router, `[R, num_experts]`.
        router_scale: Factor on each expert's score, `[1, num_experts]`.
        experts: How many, in how many groups.
        chosen: As `experts_mlp`.
    """
    scores = torch.softmax(logits.to(at_least_float32(logits.dtype)), dim=-1)
    ids = torch.empty(len(scores), experts.num_groups, dtype=torch.int64, device=scores.device)
    for group in range(experts.num_groups):
        first = group * experts.group_size
        best = first + scores[:, first : first + experts.group_size].argmax(dim=-1)
        ids[:, group] = best if chosen is None else torch.where(chosen[:, group] < 0, best, chosen[:, group])
    weights = scores.gather(1, ids) * router_scale[0, ids]
    return Shares(torch.zeros_like(scores).scatter(1, ids, weights.to(scores.dtype)), ids)
