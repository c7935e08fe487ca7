"""Mistakes of the level port in logits and choices; each name says what it does."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from causes.level.port import bend, in_row, mistake


@mistake("logits")
def rows_shifted_by_one(port: Any) -> None:
    bend(port, "tree_logits", lambda right, rows: right(rows).roll(1, 0))


@mistake("logits")
def two_rows_exchanged(port: Any) -> None:
    bend(port, "tree_logits", lambda right, rows: right(rows)[[0, 1, 5, 3, 4, 2, *range(6, len(rows))]])


@mistake("logits")
def one_row_not_a_number(port: Any) -> None:
    bend(port, "tree_logits", lambda right, rows: in_row(right(rows), 6, float("nan")))


@mistake("logits")
def tree_logits_halved(port: Any) -> None:
    bend(port, "tree_logits", lambda right, rows: right(rows) / 2)


@mistake("logits")
def one_logit_cut(port: Any) -> None:
    bend(port, "tree_logits", lambda right, rows: _one_cell(right(rows)))


def _one_cell(rows: Tensor) -> Any:
    made = rows.clone()
    made[7, 11] += 0.5
    return made


@mistake("logits")
def choices_shifted(port: Any) -> None:
    bend(port, "choices", lambda right, rows: right(rows).roll(1))


@mistake("logits")
def second_best_chosen(port: Any) -> None:
    def second(right: Any, rows: Tensor) -> Any:
        made = right(rows).clone()
        made[2] = rows[2].topk(2).indices[1]
        return made

    bend(port, "choices", second)


@mistake("logits")
def first_root_the_second_best(port: Any) -> None:
    port.first_root = lambda logits: int(logits[-1].topk(2).indices[1])


@mistake("logits")
def first_root_of_the_row_before(port: Any) -> None:
    port.first_root = lambda logits: int(logits[-2].argmax())
