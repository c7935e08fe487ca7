"""Faults of an engine's own recorder: decoding is right, the rows are not, and `check` reads the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from workbench.faults.fault import Fault
from workbench.faults.placement import Columns, Placement, on_rows


def _with(column: str, change: Callable[[Any, Columns], Any]) -> Placement:
    """Spoil one column of every row that has it."""

    def spoiled(row: Columns) -> Columns:
        return {**row, column: change(np.asarray(row[column]), row)} if row.get(column) is not None else row

    return on_rows(spoiled)


def _root_has_no_parent(parents: Any, _: Columns) -> Any:
    return np.append(-1, parents[1:])


def _root_counted(nodes: Any, _: Columns) -> Any:
    return np.append(0, nodes)


def _without_the_third(row: Columns) -> Columns | None:
    return None if row["step"] == 2 else row


def _last_token_changed(token_ids: Any, row: Columns) -> Any:
    """The token of the last node, where nothing depends on it."""
    if len(token_ids) - 1 in np.asarray(row["accepted_nodes"]):
        return token_ids
    return np.append(token_ids[:-1], token_ids[:-1].max() + 1)


def _choices_left_out(row: Columns) -> Columns:
    return {**row, "target_token_ids": None} if row["step"] == 2 else row


FAULTS: Final = (
    Fault(
        id="F-REC-01",
        name="visible-column-major",
        about="The recorder flattens who attends to whom column by column.",
        stage="verify",
        seen_in=("speculators#279",),
        noticed_by=("MASK006", "MASK001", "MASK002"),
        place=lambda: _with("visible", lambda visible, _: visible.T),
    ),
    Fault(
        id="F-REC-02",
        name="root-parent-minus-one",
        about="The recorder keeps its engine's convention that the root's parent is -1.",
        stage="tensorize",
        seen_in=("arXiv 2603.08088, section 3.2: the dummy root",),
        noticed_by=("TREE001",),
        place=lambda: _with("parents", _root_has_no_parent),
    ),
    Fault(
        id="F-REC-03",
        name="step-not-recorded",
        about="One step is missing from the trace.",
        stage="draft",
        seen_in=("sgl#37949",),
        noticed_by=("STEP001",),
        place=lambda: on_rows(_without_the_third),
    ),
    Fault(
        id="F-REC-04",
        name="root-counted-as-accepted",
        about="The accepted nodes begin with the root.",
        stage="accept",
        seen_in=("sgl#11572", "sgl#13212"),
        noticed_by=("ACC001",),
        place=lambda: _with("accepted_nodes", _root_counted),
    ),
    Fault(
        id="F-REC-05",
        name="positions-from-one",
        about="Positions are recorded from 1.",
        stage="tensorize",
        seen_in=("speculators#703",),
        noticed_by=("POS001",),
        place=lambda: _with("position_ids", lambda positions, _: positions + 1),
    ),
    Fault(
        id="F-REC-06",
        name="final-token-left-out",
        about="The emitted tokens are recorded without the final one.",
        stage="accept",
        seen_in=("vllm#56101", "sgl#39826"),
        noticed_by=("ROW001", "ACC005"),
        place=lambda: _with("emitted_token_ids", lambda emitted, _: emitted[:-1]),
    ),
    Fault(
        id="F-REC-07",
        name="digest-before-as-after",
        about="The digest after a commit is taken before it.",
        stage="commit",
        seen_in=("va#4254",),
        noticed_by=("KV005",),
        place=lambda: _with("kv_digest_after", lambda _, row: row["kv_digest_before"]),
    ),
    Fault(
        id="F-REC-08",
        name="request-numbers-exchanged",
        about="Rows carry the choices of the node behind them, as when rows of a batch are permuted.",
        stage="verify",
        seen_in=("speculators#283",),
        noticed_by=("LOGIT002", "ACC002", "ACC003", "ACC004"),
        place=lambda: _with("target_token_ids", lambda choices, _: np.roll(choices, 1)),
    ),
    Fault(
        id="F-REC-09",
        name="token-of-a-rejected-node",
        about="A rejected node is recorded with another token; no law of one path depends on it.",
        stage="tensorize",
        seen_in=("sgl#37949",),
        noticed_by=("JUDGE-PATHS-COLUMN",),
        guilty="unknown",
        place=lambda: _with("token_ids", _last_token_changed),
    ),
    Fault(
        id="F-REC-10",
        name="column-left-out-once",
        about="The hook fails at one step and its column is null there; the rules that read it see nothing.",
        stage="commit",
        seen_in=("va#10901",),
        noticed_by=("ROW003",),
        place=lambda: on_rows(_choices_left_out),
    ),
)
