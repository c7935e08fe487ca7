"""What a drafter of the fused path is: a value over a private memory of one context.

Stages know this protocol and no kind of drafter. Prefill and commit hand a drafter the rows that were
committed since its last draft; the draft stage asks it for a tree under the root, the last of their tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from tracing.draws import Draws
from tracing.models import DrafterConfig, ModelPair, TeacherConfig
from tracing.settings import DecodeSettings
from tracing.stages import Drafted, IntArray, StageWatch
from workbench.fused.cache.rows import RowCache
from workbench.fused.operators import Operators
from workbench.fused.seen import Seen
from workbench.fused.switches import Switches


@dataclass(frozen=True, slots=True)
class CommittedRows:
    """Rows committed since the last draft; after prefill, the whole context.

    Attributes:
        token_ids: Token of each row, int64 `[R]`.
        next_token_ids: The token after each row, the root last, int64 `[R]`.
        features: Tapped teacher features `[R, F]` in the path's dtype, on its device; F is 0 without taps.
    """

    token_ids: IntArray
    next_token_ids: IntArray
    features: Tensor


@dataclass(frozen=True, slots=True)
class DraftTurn:
    """What a draft may use besides its memory.

    Attributes:
        watch: Called at each attention of the drafter.
        committed_len: L, the position of the root.
        settings: Of the run; a drafter reads those that its kind declares.
        draws: Source of uniforms for a drafter that samples; None in greedy decoding.
        seen: Where the tensors of its forwards are told, or None.
    """

    watch: StageWatch
    committed_len: int
    settings: DecodeSettings
    draws: Draws | None = None
    seen: Seen | None = None


class Memory(Protocol):
    """What a drafter remembers of one context; private to it."""

    @property
    def cache(self) -> RowCache | None:
        """Its own keys and values, one row per committed token between stages; None where it has none."""
        ...

    def snapshot(self) -> Self:
        """Return a copy that shares no memory that is written to."""
        ...


class Drafter(Protocol):
    """Proposes trees. Never changed by a stage: all that changes is in the memory."""

    def begin(self) -> Memory:
        """Return an empty memory."""
        ...

    def follow(self, memory: Memory, rows: CommittedRows) -> None:
        """Take note of newly committed rows; called by prefill with an empty memory, then by each commit."""
        ...

    def draft(self, memory: Memory, turn: DraftTurn) -> Drafted:
        """Return a tree under the root, root alone if there is nothing to propose; repeatable."""
        ...


@dataclass(slots=True)
class TokenMemory:
    """A memory for drafters without a cache: the tokens so far.

    Attributes:
        token_ids: Committed tokens and, last, the root.
    """

    token_ids: tuple[int, ...] = ()
    cache: None = None

    def follow(self, rows: CommittedRows) -> None:
        """Append the rows' tokens; the root that ended them before is now the first of them."""
        self.token_ids = (*self.token_ids[:-1], *rows.token_ids.tolist(), int(rows.next_token_ids[-1]))

    def snapshot(self) -> Self:
        """Return a copy."""
        return copy.copy(self)


@dataclass(frozen=True, slots=True)
class DrafterParts:
    """What a drafter is built from.

    Attributes:
        pair: Configuration and weights.
        settings: Of the run, to be refused early where they cannot be; a draft reads those of its turn.
        operators, switches: What runs fused and what eager.
        device, dtype: Of weights and caches.
    """

    pair: ModelPair
    settings: DecodeSettings
    operators: Operators
    switches: Switches
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class DrafterKind:
    """One line of the registry. Its taps are in the pair, which both paths read.

    Attributes:
        build: Makes the drafter; raises UsageError for settings that cannot be.
        attends: Configurations with attention of their own, for the choice of operators.
    """

    build: Callable[[DrafterParts], Drafter]
    attends: Callable[[ModelPair], tuple[TeacherConfig | DrafterConfig, ...]] = lambda _: ()
