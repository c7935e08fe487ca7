"""Twin of `npu_top_k_top_p`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workbench.npu.contracts.sampling import both, check_top_k_top_p


def npu_top_k_top_p(logits: Tensor, p: Tensor | None = None, k: Tensor | None = None) -> Tensor:
    """Return the logits with -inf everywhere but at the k largest that also make up the top p.

    Values equal to the k-th largest stay. Probabilities are the softmax of what k left; those that lie in the
    smallest ones summing to at most 1 - p go, the largest always stays.

    Args:
        logits: [B, V].
        p: [B], the logits' dtype.
        k: int32 [B], 1 to min(1024, V).

    Raises:
        ContractError: when the call breaks a rule.
    """
    check_top_k_top_p(logits, p, k)
    p, k = both(p, k)
    ascending, token_from_rank = logits.sort(dim=-1, stable=True)
    smallest = ascending.gather(-1, (logits.shape[-1] - k.long()).unsqueeze(-1))
    ascending = ascending.masked_fill(ascending < smallest, -math.inf)
    mass = torch.softmax(ascending.float(), -1).cumsum(-1)
    dropped = mass <= 1 - p.float().unsqueeze(-1)
    dropped[..., -1:] = False
    return torch.empty_like(logits).scatter(-1, token_from_rank, ascending.masked_fill(dropped, -math.inf))
