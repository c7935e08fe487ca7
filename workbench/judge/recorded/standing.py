"""Where a turn stands before each recorded step, told from the recorded tokens alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(slots=True)
class Standing:
    """What is committed and emitted before the step at hand; fed with every row in order.

    Attributes:
        max_new_tokens: Tokens that a turn may emit, or None where not known.
        committed: Token ids whose K and V are committed, or None where the recording does not tell (its
            turn begins before it, or tokens are missing).
        root: The last emitted token.
        emitted: Tokens of each turn so far, the first root included, by prompt and turn.
        num_accepted: A of every uncut step.
    """

    max_new_tokens: int | None = None
    committed: list[int] | None = None
    root: int = 0
    emitted: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    num_accepted: list[int] = field(default_factory=list)
    _turn: tuple[int, int] = (-1, -1)

    def enter(self, row: Row) -> None:
        """Come to a step: a context begins a turn, or rebuilds it after a resync."""
        turn = (int(row["prompt_id"]), int(row["turn"]))
        context = row.get("context_token_ids")
        if turn != self._turn:
            self._turn, self.committed = turn, None
            self.emitted[turn] = []
        if context is None or not len(context):
            return
        *committed, root = (int(token) for token in context)
        self.committed, self.root = committed, root
        if self.emitted[turn]:
            self.emitted[turn][-1] = root
        else:
            self.emitted[turn].append(root)

    def leave(self, row: Row) -> None:
        """Go past a step, with what it emitted."""
        out = row.get("emitted_token_ids")
        if out is None or not len(out):
            if row.get("token_ids") is not None:
                self.committed = None
            return
        tokens = [int(token) for token in out]
        self.emitted[self._turn].extend(tokens)
        if self.committed is not None:
            self.committed = [*self.committed, self.root, *tokens[:-1]]
        self.root = tokens[-1]
        if row.get("stop_reason") is None:
            self.num_accepted.append(len(tokens) - 1)

    def fits(self, row: Row) -> bool:
        """Whether the tokens before the step are known and as many as the step says."""
        return self.committed is not None and row.get("committed_len") == len(self.committed)

    @property
    def remaining(self) -> int | None:
        """Tokens that the turn may still emit, or None where not known."""
        if self.max_new_tokens is None or self.committed is None:
            return None
        return self.max_new_tokens - len(self.emitted[self._turn])
