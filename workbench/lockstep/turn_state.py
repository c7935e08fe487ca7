"""Where a turn stands: what is committed, what was emitted, what the next step is fed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from tracing.moment import Moment
from tracing.stages import Prefilled
from workbench.lockstep.under_test import StepResults


@dataclass(slots=True)
class TurnState:
    """One turn in turn_state, as the path under test decodes it.

    Attributes:
        prompt_id, turn: Where it stands.
        max_new_tokens: Tokens the turn may emit, the first root included.
        prompt: What the turn was prefilled with.
        committed: Token ids whose K and V are committed, L of them.
        root: The last emitted token, not yet committed.
        features: Tapped teacher features of the committed rows, `[L, 3 * H_target]`, the tested path's own.
        emitted: Everything emitted in this turn.
        step: Number of the next step.
        context: Prompt and first root, to be recorded with the next step; None in between.
        stop_reason: None while the turn goes on.
        num_accepted: A of every uncut step.
    """

    prompt_id: int
    turn: int
    max_new_tokens: int
    prompt: list[int] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)
    root: int = 0
    features: Any = None
    emitted: list[int] = field(default_factory=list)
    step: int = 0
    context: Any = None
    stop_reason: str | None = None
    num_accepted: list[int] = field(default_factory=list)

    @property
    def moment(self) -> Moment:
        """The step in turn_state."""
        return Moment(self.prompt_id, self.turn, self.step)

    @property
    def remaining(self) -> int:
        """Tokens that may still be emitted."""
        return self.max_new_tokens - len(self.emitted)

    def enter(self, prompt: list[int], prefilled: Prefilled) -> None:
        """Take over what prefill gave; the root is the first token emitted by it."""
        self.prompt = self.prompt or list(prompt)
        self.committed = list(prompt)
        self.root = int(prefilled.context_token_ids[-1])
        self.features = prefilled.features
        self.context = prefilled.context_token_ids

    def emit_root(self, eos_token_ids: frozenset[int]) -> None:
        """Emit the root of a turn; it may already end the turn."""
        self.emitted.append(self.root)
        if self.root in eos_token_ids:
            self.stop_reason = "eos"
        elif self.remaining <= 0:
            self.stop_reason = "length"

    def take_step(self, results: StepResults) -> None:
        """Move on by what a finished step accepted."""
        tensorized, verified, accepted = results.tensorized, results.verified, results.accepted
        assert tensorized is not None
        assert verified is not None
        assert accepted is not None
        nodes = [0, *accepted.accepted_nodes.tolist()]
        self.committed += tensorized.token_ids[nodes].tolist()
        self.features = torch.cat([_tensor(self.features), _tensor(verified.features)[nodes]])
        self.root = int(accepted.final_token_id)
        self.emitted += accepted.emitted_token_ids.tolist()
        self.stop_reason = accepted.stop_reason
        if accepted.stop_reason is None:
            self.num_accepted.append(len(accepted.accepted_nodes))
        self.context = None
        self.step += 1


def _tensor(features: Any) -> torch.Tensor:
    """Features on the host, in their own dtype: the two sides may live on different devices."""
    return torch.as_tensor(features).detach().cpu()
