"""The state of a turn whose committed features are fed to the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tracing.stages import Accepted, IntArray, Verified
from workbench.judge.turn_state import TurnState, committed_nodes


@dataclass(slots=True)
class FedTurnState(TurnState):
    """A turn whose committed features are fed to the reference.

    Attributes:
        features: Tapped teacher features of the committed rows, `[L, 3 * H_target]`, the tested path's own.
        expert_ids: Experts that worked on the committed rows, the tested path's own, `[layers, L, E]`; -1 in
            rows that it gave none for; None where it gave none at prefill.
    """

    features: Any = None
    expert_ids: IntArray | None = None

    @property
    def fed(self) -> tuple[list[int], int, Any]:
        """Committed tokens, root and features: what a draft is made from."""
        return self.committed, self.root, self.features

    def take_features(self, verified: Verified, accepted: Accepted) -> None:
        """Append the features of the rows that a step commits."""
        rows = _on_host(verified.features)[committed_nodes(accepted)]
        self.features = torch.cat([_on_host(self.features), rows])
        if self.expert_ids is not None:
            nodes, (layers, _, per_row) = committed_nodes(accepted), self.expert_ids.shape
            ids = np.full((layers, len(nodes), per_row), -1, dtype=np.int64)
            if verified.expert_ids is not None:
                ids = np.asarray(verified.expert_ids)[:, nodes]
            self.expert_ids = np.concatenate([self.expert_ids, ids], axis=1)


def _on_host(features: Any) -> torch.Tensor:
    """Features on the host, in their own dtype: the two sides may use different devices."""
    return torch.as_tensor(features).detach().cpu()
