"""The state of a turn whose committed features are fed to the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tracing.stages import Accepted, Verified
from workbench.judge.turn_state import TurnState, committed_nodes


@dataclass(slots=True)
class FedTurnState(TurnState):
    """A turn whose committed features are fed to the reference.

    Attributes:
        features: Tapped teacher features of the committed rows, `[L, 3 * H_target]`, the tested path's own.
    """

    features: Any = None

    @property
    def fed(self) -> tuple[list[int], int, Any]:
        """Committed tokens, root and features: what a draft is made from."""
        return self.committed, self.root, self.features

    def take_features(self, verified: Verified, accepted: Accepted) -> None:
        """Append the features of the rows that a step commits."""
        rows = _on_host(verified.features)[committed_nodes(accepted)]
        self.features = torch.cat([_on_host(self.features), rows])


def _on_host(features: Any) -> torch.Tensor:
    """Features on the host, in their own dtype: the two sides may use different devices."""
    return torch.as_tensor(features).detach().cpu()
