"""The state of a turn between two steps, live or recorded: what is committed, what was emitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tracing.moment import Moment
from tracing.run_facts import RequestLimits, limits_of
from tracing.stages import Accepted, IntArray, Tensorized

Row = Mapping[str, Any]


@dataclass(slots=True)
class TurnState:
    """One turn, as its path decodes or decoded it.

    Attributes:
        prompt_id, turn: Which turn.
        max_new_tokens: Tokens the turn may emit, the first root included; None where a recording does not
            give it.
        is_known: Whether the tokens before the next step are known. False for a recording that begins inside
            the turn or lacks some of its tokens; `committed` and `root` then mean nothing.
        prompt: What the turn was prefilled with.
        committed: Token ids whose K and V are committed, L of them.
        root: The last emitted token, not yet committed.
        emitted: Everything emitted in this turn.
        step: Number of the next step.
        context: Prompt and first root, to be recorded with the next step; None in between.
        stop_reason: None until a token ends the turn.
        num_accepted: A of every uncut step.
        num_alone: How many uncut steps had a draft of the root alone; of a turn that is being decoded.
    """

    prompt_id: int
    turn: int
    max_new_tokens: int | None = None
    is_known: bool = True
    prompt: list[int] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)
    root: int = 0
    emitted: list[int] = field(default_factory=list)
    step: int = 0
    context: Any = None
    stop_reason: str | None = None
    num_accepted: list[int] = field(default_factory=list)
    num_alone: int = 0

    @property
    def moment(self) -> Moment:
        """The next step."""
        return Moment(self.prompt_id, self.turn, self.step)

    @property
    def is_bounded(self) -> bool:
        """Whether `remaining` is known; always true of a turn that is being decoded."""
        return self.is_known and self.max_new_tokens is not None

    @property
    def remaining(self) -> int:
        """Tokens that may still be emitted."""
        assert self.max_new_tokens is not None
        return self.max_new_tokens - len(self.emitted)

    @property
    def ended(self) -> bool:
        """Whether no further step may run, also where a path's accept does not stop at the limit."""
        return self.stop_reason is not None or self.remaining <= 0

    def has_length(self, committed_len: int | None) -> bool:
        """Whether the tokens before the next step are known and as many as the step says."""
        return self.is_known and committed_len == len(self.committed)

    def copied(self) -> TurnState:
        """Return the turn as it is now; it changes no more."""
        return replace(
            self,
            prompt=list(self.prompt),
            committed=list(self.committed),
            emitted=list(self.emitted),
            num_accepted=list(self.num_accepted),
        )

    def enter(self, prompt: Sequence[int], context: Sequence[int] | IntArray) -> None:
        """Take over a prefill.

        At the start of a turn its root is the first emitted token. After a resync it replaces the last one:
        if a fault made that token wrong, the text continues from the right one.

        Args:
            prompt: Token ids that were prefilled.
            context: The same and the root, as the path returned them.
        """
        self.prompt = self.prompt or list(prompt)
        self.committed = list(prompt)
        self.root = int(context[-1])
        self.emitted[-1:] = [self.root]
        self.context, self.is_known = context, True

    def stop_at_root(self, eos_token_ids: frozenset[int]) -> None:
        """End the turn if its first token does."""
        if self.root in eos_token_ids:
            self.stop_reason = "eos"
        elif self.remaining <= 0:
            self.stop_reason = "length"

    def take_step(self, tensorized: Tensorized, accepted: Accepted) -> None:
        """Advance by what a finished step accepted."""
        nodes = committed_nodes(accepted)
        self.num_alone += accepted.stop_reason is None and int(tensorized.valid.sum()) == 1
        self._advance(
            tensorized.token_ids[nodes].tolist(),
            accepted.emitted_token_ids.tolist(),
            int(accepted.final_token_id),
            accepted.stop_reason,
        )

    def take_row(self, row: Row) -> None:
        """Advance by what a recorded step emitted; without it the tokens of later steps are not known."""
        emitted = row.get("emitted_token_ids")
        if emitted is not None and len(emitted):
            tokens = [int(token) for token in emitted]
            whole = tokens + discarded_of(row)
            self._advance([self.root, *whole[:-1]], tokens, whole[-1], row.get("stop_reason"))
        elif row.get("token_ids") is not None:
            self.is_known = False

    def _advance(self, committed: list[int], emitted: list[int], root: int, stop_reason: str | None) -> None:
        self.committed += committed
        self.emitted += emitted
        self.root, self.stop_reason, self.context = root, stop_reason, None
        if stop_reason is None:
            self.num_accepted.append(len(committed) - 1)
        self.step += 1


def committed_nodes(accepted: Accepted) -> list[int]:
    """Return the nodes that a step commits: the root, then the accepted ones."""
    return [0, *accepted.accepted_nodes.tolist()]


def discarded_of(row: Row) -> list[int]:
    """Return the tokens that a recorded step committed and never emitted."""
    discarded = row.get("discarded_token_ids")
    return [] if discarded is None else [int(token) for token in discarded]


def recorded_turns(
    rows: Iterable[Row],
    max_new_tokens: int | None,
    request_limits: Mapping[str, RequestLimits] | None = None,
) -> Iterator[tuple[Row, TurnState]]:
    """Yield each recorded step with the state of its turn before it; requests of a batch may take turns.

    Args:
        rows: The steps of one path in order.
        max_new_tokens: Tokens that a turn may emit, or None where not known.
        request_limits: Those of requests, by request id.
    """
    turns: dict[tuple[int, int], TurnState] = {}
    for row in rows:
        prompt_id, turn, step = Moment.of_row(row).place
        state = turns.get((prompt_id, turn))
        if state is None:
            limits = limits_of(request_limits, row.get("request_id"))
            own = None if limits is None else limits.max_new_tokens
            state = TurnState(prompt_id, turn, own or max_new_tokens, is_known=False)
            turns[prompt_id, turn] = state
        context = row.get("context_token_ids")
        if context is not None and len(context):
            tokens = [int(token) for token in context]
            state.enter(tokens[:-1], tokens)
        state.step = step
        yield row, state
        state.take_row(row)
