"""Mistakes of the level port in logits and choices; each name says what it does."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from causes.level.port import in_row, mistake

mistake.add("logits", "rows-shifted-by-one", "tree_logits", lambda right, rows: right(rows).roll(1, 0))
mistake.add(
    "logits",
    "two-rows-exchanged",
    "tree_logits",
    lambda right, rows: right(rows)[[0, 1, 5, 3, 4, 2, *range(6, len(rows))]],
)
mistake.add(
    "logits", "one-row-not-a-number", "tree_logits", lambda right, rows: in_row(right(rows), 6, float("nan"))
)
mistake.add("logits", "tree-logits-halved", "tree_logits", lambda right, rows: right(rows) / 2)
mistake.add("logits", "one-logit-cut", "tree_logits", lambda right, rows: _one_cell(right(rows)))


def _one_cell(rows: Tensor) -> Any:
    made = rows.clone()
    made[7, 11] += 0.5
    return made


mistake.add("logits", "choices-shifted", "choices", lambda right, rows: right(rows).roll(1))


@mistake.bends("logits", "choices")
def second_best_chosen(right: Any, rows: Tensor) -> Any:
    made = right(rows).clone()
    made[2] = rows[2].topk(2).indices[1]
    return made


mistake.add(
    "logits", "first-root-the-second-best", "first_root", lambda _, logits: int(logits[-1].topk(2).indices[1])
)
mistake.add(
    "logits", "first-root-of-the-row-before", "first_root", lambda _, logits: int(logits[-2].argmax())
)
