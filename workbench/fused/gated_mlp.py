"""SwiGLU between two products."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from workbench.fused.operators import Operators
from workbench.fused.seen import Seen, tell_mlp


class GatedMlp:
    """Gate and up in one product, then SwiGLU through the operator."""

    def __init__(self, source: Any, operators: Operators) -> None:
        self.gate_and_up = operators.products.joined([source.gate_proj, source.up_proj])
        self.down = operators.products.joined([source.down_proj])
        self.operators = operators

    def __call__(self, hidden_states: Tensor, seen: Seen | None = None) -> Tensor:
        """Return `down(silu(gate(x)) * up(x))`; its tensors are told where `seen` is given."""
        both = self.gate_and_up(hidden_states)
        activated = self.operators.swiglu(both)
        output = self.down(activated)
        if seen is not None:
            tell_mlp(seen, hidden_states, both, activated, output)
        return output
