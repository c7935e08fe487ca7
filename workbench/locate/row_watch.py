"""Every row of the committed cache by digest, stage by stage: who wrote it, and who wrote over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tracing.moment import Moment
from workbench.judge.cache_history import Writer
from workbench.lockstep.engine.turn_state import FedTurnState
from workbench.lockstep.engine.under_test import PathUnderTest, StepResults


@dataclass(frozen=True, slots=True)
class Write:
    """A row got a value.

    Attributes:
        at: Step, stage, and the node whose row it is meant to be; None for rows of the context.
        digest: Of the row since then.
        was: Its digest before; None where there was no row.
    """

    at: Moment
    digest: int
    was: int | None = None


@dataclass(slots=True)
class RowWatch:
    """Looks at the committed cache after every stage; give it to `scene_at`.

    Attributes:
        writes: Of each position, in order; of the turn that was decoded last.
        shows_rows: Whether the path shows its cache.
        nodes: Digest of a tree's row to who wrote it.
    """

    writes: list[list[Write]] = field(default_factory=list)
    shows_rows: bool = True
    nodes: dict[int, Writer] = field(default_factory=dict)

    def __call__(
        self, turn_state: FedTurnState, results: StepResults, stage: str, path: PathUnderTest
    ) -> None:
        """Look after a stage."""
        rows: Any = path.main_rows()
        if rows is None:
            self.shows_rows = False
            return
        if stage == "prefill":
            self.writes.clear()
            self.nodes.clear()
        if stage == "verify" and results.branch_rows is not None:
            for number, digest in enumerate(results.branch_rows.tolist()):
                self.nodes.setdefault(digest, Writer(turn_state.step, number, digest))
        moment = turn_state.moment
        del self.writes[len(rows) :]  # a cache that was cut is written anew
        digests: list[int] = rows.tolist()
        for position, digest in enumerate(digests):
            if position == len(self.writes):
                node = _node_of(results, position) if stage == "commit" else None
                self.writes.append([Write(moment.at(stage, node), digest)])
            elif (was := self.writes[position][-1].digest) != digest:
                self.writes[position].append(Write(moment.at(stage), digest, was))

    def last_before(self, position: int, moment: Moment) -> Write | None:
        """Return what gave a position its value as a stage found it; None where there was no row."""
        own = self.writes[position] if position < len(self.writes) else []
        return next((each for each in reversed(own) if order_of(each.at) < order_of(moment)), None)


def order_of(moment: Moment) -> tuple[int, int]:
    """Return what orders the stages of one turn."""
    return (-1, 0) if moment.stage == "prefill" else (moment.step, moment.stage_number)


def _node_of(results: StepResults, position: int) -> int | None:
    """Return the node whose row belongs at a position that a commit has just filled."""
    if results.accepted is None:
        return None
    path = [0, *results.accepted.accepted_nodes.tolist()]
    place = position - results.committed_len
    return path[place] if 0 <= place < len(path) else None
