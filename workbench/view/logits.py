"""The teacher's best tokens after each node, both sides side by side, with the margin of the choice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from workbench.view.lines import Line, Lines, Span, note
from workbench.view.panel import Panel, missing_lines
from workbench.view.step import Side, StepView, ViewOptions
from workbench.view.targets import NodeTarget
from workbench.view.tokens import Tokens
from workbench.view.width import fitted

Entry = tuple[int, float]
CELL, MIN_CELL, STEM = 20, 18, 6
"""Cells of a token with its logit, where there is room and at the least; cells before the first."""


@dataclass(frozen=True, slots=True)
class LogitRow:
    """One node's best tokens.

    Attributes:
        node: Its number.
        sides: Per side the token ids with their logits, best first.
        choices: Per side the recorded choice.
    """

    node: int
    sides: tuple[tuple[Entry, ...], ...]
    choices: tuple[int | None, ...]

    @property
    def margins(self) -> tuple[float | None, ...]:
        """Per side the best logit less the second best; None where there are not two."""
        return tuple(each[0][1] - each[1][1] if len(each) > 1 else None for each in self.sides)

    @property
    def largest_gap(self) -> float | None:
        """Largest difference between the two sides' logits of one token, None for one side."""
        ours, theirs = self.sides[0], dict(self.sides[-1])
        gaps = [abs(logit - theirs[token_id]) for token_id, logit in ours if token_id in theirs]
        return max(gaps, default=None) if len(self.sides) > 1 else None

    @property
    def differs(self) -> bool:
        """The two sides choose differently."""
        return len({choice for choice in self.choices if choice is not None}) > 1

    @property
    def not_finite(self) -> bool:
        """A logit is NaN or Inf."""
        return any(not math.isfinite(logit) for side in self.sides for _, logit in side)


def logit_rows(step: StepView) -> list[LogitRow]:
    """Return a row per valid node."""
    pads = step.left.pads
    return [
        LogitRow(
            node,
            tuple(_entries(side, node) for side in step.sides),
            tuple(side.at("target_token_ids", node) for side in step.sides),
        )
        for node in range(max(side.num_nodes for side in step.sides))
        if node not in pads
    ]


def logits_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw every node's best tokens."""
    lines: list[Line] = []
    for side in step.sides:
        lines += missing_lines(side, "target_top_ids", "target_top_logits")
    rows = logit_rows(step)
    cell = min(CELL, max(MIN_CELL, (options.width - STEM) // len(step.sides)))
    found = step.finding_nodes()
    if options.differences_only:
        rows = [row for row in rows if row.differs or row.not_finite or row.node in found]
        if not rows:
            lines.append(note("no choice differs"))
    if rows and any(any(row.sides) for row in rows):
        lines.append((Span(" " * STEM + "".join(fitted(side.label, cell) for side in step.sides), "title"),))
    for row in rows:
        lines.extend(_row_lines(row, step, cell, found=row.node in found))
    return lines


def _entries(side: Side, node: int) -> tuple[Entry, ...]:
    ids, logits = side.grid("target_top_ids"), side.grid("target_top_logits")
    if ids is None or logits is None or node >= min(len(ids), len(logits)):
        return ()
    pairs = zip(ids[node].tolist(), logits[node].tolist(), strict=False)
    return tuple((token_id, logit) for token_id, logit in pairs if token_id is not None and logit is not None)


def _row_lines(row: LogitRow, step: StepView, cell: int, *, found: bool) -> list[Line]:
    target = NodeTarget(row.node)
    mark = "!" if found or row.not_finite else "≠" if row.differs else " "
    head = [
        Span(mark, "bad" if mark == "!" else "warn"),
        Span(f" node {row.node} {step.tokens.text(step.left.at('token_ids', row.node))}", "title", target),
        Span("  margin " + " | ".join("-" if each is None else f"{each:.4g}" for each in row.margins), "dim"),
    ]
    if row.largest_gap is not None:
        head.append(Span(f"  largest gap {row.largest_gap:.3g}", "dim"))
    lines: list[Line] = [tuple(head)]
    lines.extend(_choice_lines(row, step.sides, step.tokens))
    for rank in range(max((len(each) for each in row.sides), default=0)):
        cells = [
            _cell(each, rank, choice, step.tokens, cell)
            for each, choice in zip(row.sides, row.choices, strict=True)
        ]
        lines.append((Span(f"{rank + 1:>5} ", "dim", target), *cells))
    return lines


def _choice_lines(row: LogitRow, sides: tuple[Side, ...], tokens: Tokens) -> list[Line]:
    """Say which choices differ, and any choice that is not among the best listed."""
    lines: list[Line] = []
    if row.differs:
        shown = ", ".join(
            f"{side.label} {tokens.text(choice)}" for side, choice in zip(sides, row.choices, strict=True)
        )
        lines.append(note(f"      ≠ chosen: {shown}", "warn"))
    for side, choice, entries in zip(sides, row.choices, row.sides, strict=True):
        if choice is not None and entries and choice != entries[0][0]:
            lines.append(
                note(f"      ! {side.label} chose {tokens.text(choice)}, which is not its best", "bad")
            )
    return lines


def _cell(entries: tuple[Entry, ...], rank: int, choice: int | None, tokens: Tokens, cell: int) -> Span:
    if rank >= len(entries):
        return Span(" " * cell)
    token_id, logit = entries[rank]
    chosen = ">" if token_id == choice else " "
    text = fitted(f"{chosen}{fitted(tokens.text(token_id, cell - 11), cell - 11)} {logit:8.3f}", cell)
    return Span(text, "good" if token_id == choice else "plain" if math.isfinite(logit) else "bad")


PANEL: Final = Panel(
    "logits",
    "o",
    "the teacher's best tokens, both sides, with margins",
    logits_lines,
    columns=frozenset({"logits", "target_token_ids", "target_top_ids", "target_top_logits"}),
    stage="verify",
    legend=((">", "the choice"), ("margin", "best logit less the second best")),
)
