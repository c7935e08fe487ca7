"""The state of a turn in progress: what is committed, what was emitted, what the next step is fed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from tracing.moment import Moment
from tracing.stages import Accepted, Prefilled, Tensorized, Verified


@dataclass(slots=True)
class TurnState:
    """One turn in progress, as a path decodes it.

    Attributes:
        prompt_id, turn: Which turn.
        max_new_tokens: Tokens the turn may emit, the first root included.
        prompt: What the turn was prefilled with.
        committed: Token ids whose K and V are committed, L of them.
        root: The last emitted token, not yet committed.
        emitted: Everything emitted in this turn.
        step: Number of the next step.
        context: Prompt and first root, to be recorded with the next step; None in between.
        stop_reason: None until a token ends the turn.
        num_accepted: A of every uncut step.
    """

    prompt_id: int
    turn: int
    max_new_tokens: int
    prompt: list[int] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)
    root: int = 0
    emitted: list[int] = field(default_factory=list)
    step: int = 0
    context: Any = None
    stop_reason: str | None = None
    num_accepted: list[int] = field(default_factory=list)

    @property
    def moment(self) -> Moment:
        """The step in progress."""
        return Moment(self.prompt_id, self.turn, self.step)

    @property
    def remaining(self) -> int:
        """Tokens that may still be emitted."""
        return self.max_new_tokens - len(self.emitted)

    @property
    def ended(self) -> bool:
        """Whether no further step may run, also where a path's accept does not stop at the limit."""
        return self.stop_reason is not None or self.remaining <= 0

    def enter(self, prompt: list[int], prefilled: Prefilled) -> None:
        """Take over what prefill gave; the root is the first token emitted by it."""
        self.prompt = self.prompt or list(prompt)
        self.committed = list(prompt)
        self.root = int(prefilled.context_token_ids[-1])
        self.context = prefilled.context_token_ids

    def emit_root(self, eos_token_ids: frozenset[int]) -> None:
        """Emit the root of a turn; it may already end the turn."""
        self.emitted.append(self.root)
        if self.root in eos_token_ids:
            self.stop_reason = "eos"
        elif self.remaining <= 0:
            self.stop_reason = "length"

    def take_step(self, tensorized: Tensorized, accepted: Accepted) -> None:
        """Advance by what a finished step accepted."""
        self.committed += tensorized.token_ids[committed_nodes(accepted)].tolist()
        self.root = int(accepted.final_token_id)
        self.emitted += accepted.emitted_token_ids.tolist()
        self.stop_reason = accepted.stop_reason
        if accepted.stop_reason is None:
            self.num_accepted.append(len(accepted.accepted_nodes))
        self.context = None
        self.step += 1


@dataclass(slots=True)
class FedTurnState(TurnState):
    """A turn whose committed features are fed to the reference.

    Attributes:
        features: Tapped teacher features of the committed rows, `[L, 3 * H_target]`, the tested path's own.
    """

    features: Any = None

    def enter(self, prompt: list[int], prefilled: Prefilled) -> None:
        """Take over what prefill gave, its features included."""
        TurnState.enter(self, prompt, prefilled)
        self.features = prefilled.features

    def take_features(self, verified: Verified, accepted: Accepted) -> None:
        """Append the features of the rows that a step commits."""
        rows = _on_host(verified.features)[committed_nodes(accepted)]
        self.features = torch.cat([_on_host(self.features), rows])


def committed_nodes(accepted: Accepted) -> list[int]:
    """Return the nodes that a step commits: the root, then the accepted ones."""
    return [0, *accepted.accepted_nodes.tolist()]


def _on_host(features: Any) -> torch.Tensor:
    """Features on the host, in their own dtype: the two sides may live on different devices."""
    return torch.as_tensor(features).detach().cpu()
