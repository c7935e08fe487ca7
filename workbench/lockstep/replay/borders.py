"""Drafter rows at the borders of prompt chunks that an engine made with another token than the next one.

The last row of a chunk pairs its feature with the token after it, which the chunk does not hold. An engine
that takes the last token that it knows of the request instead (vLLM 0.32, runner V1, padded batches) drafts
from a row that is wrong until the request ends: drafts are worth less, the text stays right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tracing.reader import Run, open_run
from workbench.judge.notes import StageJudgement
from workbench.judge.turn_state import TurnState

COLUMNS: Final = ("prompt_id", "turn", "row_kind", "launch", "committed_len", "query_len", "num_cached")
CHUNKS: Final = frozenset({"prefill_chunk", "recompute"})
Row = Mapping[str, Any]
Turn = tuple[int, int]
Replaced = Mapping[int, int]
"""Token that stood in for the one at each position."""
Judged = Callable[[Sequence[int]], StageJudgement]
"""The draft of a step judged after these tokens."""


@dataclass(slots=True)
class ChunkedLife:
    """One life of a request, from admission or resume on, as its chunks were launched.

    Attributes:
        launch: Of its first chunk.
        num_cached: Tokens found in the cache.
        borders: Position after each chunk that another launch goes on from, to the launch that ended there.
        num_known: Tokens that the engine knew of the request meanwhile.
    """

    launch: int
    num_cached: int = 0
    borders: dict[int, int] = field(default_factory=dict)
    num_known: int = 0

    def replaced(self, tokens: Sequence[int]) -> dict[int, int]:
        """Return what the last known token stood in for, of the tokens of a later step and its root."""
        known = tokens[self.num_known - 1] if 0 < self.num_known <= len(tokens) else None
        borders = [each for each in self.borders if each < len(tokens)]
        return {} if known is None else {each: known for each in borders if tokens[each] != known}


def chunked_lives(run: Run, path_name: str) -> dict[Turn, list[ChunkedLife]]:
    """Return the lives of each turn of a path in which a chunk was cut; empty where none was."""
    rows_of: dict[Turn, list[Row]] = {}
    every = open_run(run.folder, every_row=True).path(path_name)
    for row in (row for batch in every.batches(COLUMNS) for row in batch.to_pylist()):
        if row["row_kind"] in {None, *CHUNKS} and None not in (row["launch"], row["committed_len"]):
            rows_of.setdefault((row["prompt_id"], row["turn"]), []).append(row)
    found = {turn: _lives(rows) for turn, rows in rows_of.items()}
    return {turn: lives for turn, lives in found.items() if any(each.borders for each in lives)}


def _lives(rows: list[Row]) -> list[ChunkedLife]:
    lives: list[ChunkedLife] = []
    rows.sort(key=lambda row: (row["launch"], row["committed_len"]))
    for before, row in zip([None, *rows], rows, strict=False):
        start, launch = row["committed_len"], row["launch"]
        goes_on = before is not None and before["row_kind"] in CHUNKS and start == _end(before)
        if row["row_kind"] is None:
            if goes_on and before is not None and lives:
                lives[-1].num_known = start + (launch == before["launch"])
        elif not goes_on or before is None or not lives:
            lives.append(ChunkedLife(launch, row["num_cached"] or 0))
        elif launch != before["launch"]:
            lives[-1].borders[start] = before["launch"]
    return lives


def _end(row: Row) -> int:
    return int(row["committed_len"]) + int(row["query_len"] or 0)


@dataclass(slots=True)
class ChunkBorders:
    """Says of a wrong draft that the row at a border explains it, and follows the request with that row.

    Attributes:
        lives: Of each turn in which a chunk was cut, or that may have found such rows in the cache.
    """

    lives: Mapping[Turn, Sequence[ChunkedLife]]
    _written: dict[tuple[int, ...], int] = field(default_factory=dict)
    _fits: dict[tuple[Turn, int], tuple[int, Replaced]] = field(default_factory=dict)

    def judged(self, plain: StageJudgement, row: Row, state: TurnState, again: Judged) -> StageJudgement:
        """Return the judgement of a draft; with one finding that says so where a border explains it.

        Args:
            plain: Of the draft after the tokens as they are.
            row: The step.
            state: Of its turn before it.
            again: Judges it after others.
        """
        turn, launch = (state.prompt_id, state.turn), row.get("launch")
        if not self.lives or launch is None:
            return plain
        tokens = [*state.committed, state.root]
        life = next((each for each in reversed(self.lives.get(turn, ())) if each.launch <= launch), None)
        own = {} if life is None else life.replaced(tokens)
        for position, token in own.items():
            self._written.setdefault(tuple(tokens[:position]), token)
        if not plain.findings:
            return plain
        key = (turn, -1 if life is None else life.launch)
        step, fitting = self._fits.get(key, (state.step, None))
        hit = {} if life is None else self._hit(tokens, life.num_cached)
        for replaced in [fitting] if fitting is not None else [own, {**hit, **own}]:
            other = again(_with(tokens, replaced)[:-1]) if replaced else plain
            if not other.findings:
                self._fits[key] = step, replaced
                named = (replace(plain.findings[0], explanation=_said(tokens, replaced, life)),)
                return replace(other, findings=named if step == state.step else ())
        return plain

    def _hit(self, tokens: Sequence[int], num_cached: int) -> dict[int, int]:
        """Return the rows that a request found in the cache and that others wrote at a border."""
        known = ((each, self._written.get(tuple(tokens[:each]))) for each in range(1, num_cached + 1))
        return {
            each: token for each, token in known if token not in {None, tokens[each]} and token is not None
        }


def _with(tokens: Sequence[int], replaced: Replaced) -> list[int]:
    return [replaced.get(position, token) for position, token in enumerate(tokens)]


def _said(tokens: Sequence[int], replaced: Replaced, life: ChunkedLife | None) -> str:
    borders = {} if life is None else life.borders
    position, token = next(iter(replaced.items()))
    launch = borders.get(position)
    where = "found in the cache" if launch is None else f"the last of a chunk in launch {launch}"
    more = f" (and {len(replaced) - 1} more)" if len(replaced) > 1 else ""
    return (
        f"it is what the drafter's row {position - 1}, {where}, gives when made with token {token}, the last "
        f"that is known of the request, instead of the next one, {tokens[position]}{more}; the text stays "
        f"right, drafts are worth less"
    )
