"""Mistakes planted in lawful launches of the toy engine, each in one launch, by the rule that names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from tests.invariants.toy_rows import SIZES, Row

Change = Callable[[list[Row], Row], bool]
"""Spoils one row of a launch in place; False where it has no place for the mistake."""


def _steps(row: Row) -> bool:
    return row.get("slots") is not None and row["request_id"] is not None and len(row["slots"]) > 0


def _add(row: Row, column: str, index: int, by: int) -> bool:
    row[column] = row[column].copy()
    row[column][..., index] += by
    return True


def slots_of_a_neighbour(rows: list[Row], row: Row) -> bool:
    others = [each for each in rows if _steps(each) and each["request_id"] != row["request_id"]]
    if not others or (others[0]["group_slots"][:, :1] <= 0).any() or row["row_kind"] == "withdrawn":
        return False
    row["group_slots"] = row["group_slots"].copy()
    row["group_slots"][:, 0] = others[0]["group_slots"][:, 0]
    row["slots"] = row["group_slots"][0]
    return True


def table_of_a_neighbour(rows: list[Row], row: Row) -> bool:
    others = [each for each in rows if _steps(each) and each["request_id"] != row["request_id"]]
    tables = [each["table_block_ids"].reshape(2, -1) for each in (row, *others[:1])]
    if not others or tables[0][0, -1] == tables[1][0, -1]:
        return False
    tables[0] = tables[0].copy()
    tables[0][0, -1] = tables[1][0, -1]
    row["table_block_ids"] = tables[0].reshape(-1)
    return True


def table_too_short(rows: list[Row], row: Row) -> bool:
    row["table_block_ids"] = row["table_block_ids"].reshape(2, -1)[:, :-1].reshape(-1)
    return True


def slot_of_the_position_before(rows: list[Row], row: Row) -> bool:
    if (row["group_slots"] < max(SIZES)).any():
        return False
    row["group_slots"] = row["group_slots"] - 1
    return True


def resumed_too_far(rows: list[Row], row: Row) -> bool:
    if row.get("num_cached") is None or not row["committed_len"]:
        return False
    row["num_cached"] -= 1
    return True


def token_of_another(rows: list[Row], row: Row) -> bool:
    return row["row_kind"] != "withdrawn" and "num_cached" not in row and _add(row, "token_ids", 0, 500)


def kv_len_one_short(rows: list[Row], row: Row) -> bool:
    if row["row_kind"] == "withdrawn":
        return False
    row["kv_len"] -= 1
    return True


def host_length_behind(rows: list[Row], row: Row) -> bool:
    row["kv_len_host"] -= 1
    return True


def host_length_ahead_of_an_exact_operator(rows: list[Row], row: Row) -> bool:
    row["kernel"] = "npu_fused_infer_attention_score TND"
    row["kv_len_host"] += 2
    return True


def host_and_device_past_the_blocks(rows: list[Row], row: Row) -> bool:
    row["kv_len"] += 400
    row["kv_len_host"] += 400
    row["query_len"] += 400
    return True


def padding_written(rows: list[Row], row: Row) -> bool:
    padding = rows[-1]
    padding["slots"] = np.full(3, 5 * max(SIZES))
    return True


def padded_to_too_few(rows: list[Row], row: Row) -> bool:
    for each in rows:
        each["num_tokens_padded"] = 1
    return sum(each.get("query_len") or 0 for each in rows if _steps(each)) > 1


def drafter_in_another_block(rows: list[Row], row: Row) -> bool:
    if row.get("draft_slots") is None or (row["draft_slots"] < 0).any() or not len(row["draft_slots"]):
        return False
    return _add(row, "draft_slots", -1, 4000)


def drafter_a_row_late(rows: list[Row], row: Row) -> bool:
    if row.get("draft_slots") is None or (row["draft_slots"] < 0).any() or len(row["draft_slots"]) < 2:
        return False
    return _add(row, "draft_position_ids", -1, 1)


MISTAKES: Final[dict[str, tuple[Change, ...]]] = {
    "REQ001": (slots_of_a_neighbour,),
    "REQ004": (table_of_a_neighbour, table_too_short),
    "REQ005": (slots_of_a_neighbour, slot_of_the_position_before),
    "REQ008": (resumed_too_far,),
    "REQ009": (token_of_another,),
    "REQ010": (kv_len_one_short,),
    "REQ011": (host_length_behind, host_length_ahead_of_an_exact_operator),
    "REQ012": (host_and_device_past_the_blocks,),
    "REQ013": (padding_written, padded_to_too_few),
    "REQ014": (drafter_in_another_block, drafter_a_row_late),
}
"""By the rule that must report them."""
INSIDE: Final = {
    "given-twice": ("REQ001", "REQ002", "REQ003"),
    "hit-beyond": ("REQ006",),
    "drop-skipped": ("REQ007",),
    "resume-elsewhere": ("REQ008",),
}
"""Mistakes that the engine itself makes, and the rules that report them."""


def spoilt(launches: list[list[Row]], change: Change, after: int) -> tuple[int, Row] | None:
    """Plant a mistake in the first launch after a number that has a place for it.

    Returns:
        Index of the launch and the row, or None where no launch has a place.
    """
    for index, rows in enumerate(launches):
        for row in _candidates(rows) if index >= after else ():
            kept = dict(row), dict(rows[-1])
            if change(rows, row):
                return index, row
            row.clear()
            row.update(kept[0])
    return None


def _candidates(rows: list[Row]) -> Iterator[Row]:
    yield from (row for row in rows if _steps(row))
