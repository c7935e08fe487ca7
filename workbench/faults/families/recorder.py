"""Faults of an engine's own recorder: decoding is right, the rows are not, and `check` reads the rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.faults.fault import fault
from workbench.faults.placement import Columns, Placement, Placer, Spoil, on_rows, once_per_run


def on_column(column: str) -> Placer:
    """Spoil one column of every row that has it, given its values and the row."""

    def placer(spoil: Spoil) -> Placement:
        def spoiled(row: Columns) -> Columns:
            value = row.get(column)
            return row if value is None else {**row, column: spoil(np.ma.asanyarray(value), row)}

        return on_rows(spoiled)

    return placer


@fault(
    "F-REC-01",
    "speculators#279",
    stage="verify",
    noticed_by=("MASK006", "MASK001", "MASK002"),
    placed=on_column("visible"),
)
def visible_column_major(visible: Any, _: Columns) -> Any:
    """The recorder flattens who attends to whom column by column."""
    return visible.T


@fault(
    "F-REC-02",
    "arXiv 2603.08088, section 3.2: the dummy root",
    stage="tensorize",
    noticed_by=("TREE001",),
    placed=on_column("parents"),
)
def root_parent_minus_one(parents: Any, _: Columns) -> Any:
    """The recorder keeps its engine's convention that the root's parent is -1."""
    return np.append(-1, parents[1:])


@fault("F-REC-03", "sgl#37949", stage="draft", noticed_by=("STEP001",), placed=on_rows)
def step_not_recorded(row: Columns) -> Columns | None:
    """One step is missing from the trace."""
    return None if row["step"] == 2 else row


@fault(
    "F-REC-04",
    "sgl#11572",
    "sgl#13212",
    stage="accept",
    noticed_by=("ACC001",),
    placed=on_column("accepted_nodes"),
)
def root_counted_as_accepted(nodes: Any, _: Columns) -> Any:
    """The accepted nodes begin with the root."""
    return np.append(0, nodes)


@fault(
    "F-REC-05", "speculators#703", stage="tensorize", noticed_by=("POS001",), placed=on_column("position_ids")
)
def positions_from_one(positions: Any, _: Columns) -> Any:
    """Positions are recorded from 1."""
    return positions + 1


@fault(
    "F-REC-06",
    "vllm#56101",
    "sgl#39826",
    stage="accept",
    noticed_by=("ROW001", "ACC005"),
    placed=on_column("emitted_token_ids"),
)
def final_token_left_out(emitted: Any, _: Columns) -> Any:
    """The emitted tokens are recorded without the final one."""
    return emitted[:-1]


@fault("F-REC-07", "va#4254", stage="commit", noticed_by=("KV005",), placed=on_column("kv_digest_after"))
def digest_before_as_after(_: Any, row: Columns) -> Any:
    """The digest after a commit is taken before it."""
    return row["kv_digest_before"]


@fault(
    "F-REC-08",
    "speculators#283",
    stage="verify",
    noticed_by=("LOGIT002", "ACC002", "ACC003", "ACC004"),
    placed=on_column("target_token_ids"),
)
def request_numbers_exchanged(choices: Any, _: Columns) -> Any:
    """Rows carry the choices of the node behind them, as when rows of a batch are permuted."""
    return np.roll(choices, 1)


@fault(
    "F-REC-09",
    "sgl#37949",
    stage="tensorize",
    noticed_by=("JUDGE-PATHS-COLUMN",),
    placed=on_column("token_ids"),
    guilty="unknown",
)
def token_of_a_rejected_node(token_ids: Any, row: Columns) -> Any:
    """A rejected node is recorded with another token; no law of one path depends on it."""
    if len(token_ids) - 1 in np.asarray(row["accepted_nodes"]):
        return token_ids
    return np.append(token_ids[:-1], token_ids[:-1].max() + 1)


@fault("F-REC-10", "va#10901", stage="commit", noticed_by=("ROW003",), placed=on_rows)
def column_left_out_once(row: Columns) -> Columns:
    """The hook fails at one step and its column is null there; the rules that read it see nothing."""
    return {**row, "target_token_ids": None} if row["step"] == 2 else row


@fault(
    "F-REC-11",
    "sgl#15399",
    stage="draft",
    noticed_by=("DRAFT006",),
    placed=once_per_run(on_column("draft_top1_offsets")),
)
def distances_of_the_step_before() -> Any:
    """A probe is not cleared: nodes that were not expanded keep the distances of the step before."""
    kept: list[Any] = []

    def spoil(offsets: Any, _: Columns) -> Any:
        last = kept.pop() if kept else offsets
        mixed = offsets.copy()
        hidden = np.ma.getmaskarray(mixed)
        mixed[hidden] = last[hidden]
        kept.append(mixed)
        return mixed

    return spoil


@fault(
    "F-REC-12", "sgl#8409", stage="draft", noticed_by=("DRAFT006",), placed=on_column("draft_top1_offsets")
)
def distances_of_the_node_beside(offsets: Any, _: Columns) -> Any:
    """Distances are recorded one row too late: each node has those of the node before."""
    return offsets[np.roll(np.arange(len(offsets)), 1)]


@fault(
    "F-REC-13", "va#10043", stage="draft", noticed_by=("DRAFT006",), placed=on_column("draft_top1_offsets")
)
def distance_zero_where_none_is(offsets: Any, _: Columns) -> Any:
    """A dense buffer is recorded: nodes that were never expanded have the distance 0."""
    return np.ma.array(np.ma.filled(offsets, 0), mask=False)
