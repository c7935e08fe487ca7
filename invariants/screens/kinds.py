"""Steps of one kind: where every rule that holds has the same reason to hold, or not to be checked.

For steps that no screen flags, a rule is either held or not checked, and which of the two depends on what the
step records and on a few things that some rule may find nothing of. So one step of a kind speaks for all.
"""

from __future__ import annotations

import numpy as np

from invariants.rule import BoolArray, IntArray
from invariants.screens.batch import Batch, Group, numbered

Kind = tuple[bytes, bytes, tuple[str, ...]]
MANY = 4
"""Counts beyond this make no difference to whether a rule has something to look at."""


def kinds(batch: Batch, left_out: BoolArray) -> tuple[IntArray, list[Kind]]:
    """Return the number of the kind of each step, `[S]`, and the kinds; -1 for those left out."""
    little = np.zeros((batch.num_steps, 10), dtype=np.int64)
    for group in batch.groups(left_out):
        little[group.rows] = _little(group)
    forms, form_of = batch.forms
    words: dict[tuple[str, ...], int] = {}
    texts = zip(*(_texts(batch, name) for name in ("stop_reason", "commit_mode")), strict=True)
    said = np.array([words.setdefault(pair, len(words)) for pair in texts], dtype=np.int64)
    numbers, rows = numbered(np.concatenate([little, forms[:, None], said[:, None]], axis=1))
    word_of = list(words)
    found: list[Kind] = []
    for row in rows:
        *_, form, text = np.frombuffer(row, dtype=np.int64).tolist()
        found.append((form_of[form], row[:-16], word_of[text]))
    return np.where(left_out, -1, numbers), found


def _texts(batch: Batch, name: str) -> list[str]:
    """Return a text column as a list, empty where null."""
    column = batch.columns.get(name)
    if column is None:
        return [""] * batch.num_steps
    present = column.present
    return [str(value) if there else "" for value, there in zip(column.values.tolist(), present, strict=True)]


def _little(group: Group) -> IntArray:
    """Return what some rule may find nothing of, `[G, 10]`."""
    found = np.zeros((group.size, 10), dtype=np.int64)
    if group.has("valid"):
        valid = group["valid"]
        found[:, 0] = np.minimum(np.count_nonzero(valid, axis=1), MANY)
        found[:, 1] = ~valid.all(axis=1)
        if group.has("depths"):
            found[:, 2] = np.minimum(np.where(valid, group["depths"], 0).max(axis=1), MANY)
        if group.has("token_ids"):
            tokens = group["token_ids"]
            found[:, 3] = (valid & (tokens != tokens[:, :1])).any(axis=1)
    if group.has("draft_logprobs") and group["draft_logprobs"].shape[1] > 1:
        scores = group["draft_logprobs"][:, 1:]
        found[:, 4] = (scores != scores[:, :1]).any(axis=1)
    for place, name in ((5, "accepted_nodes"), (6, "index_sites.min")):
        if group.has(name):
            found[:, place] = np.minimum(group[name].lengths, 1)
    if group.has("draft_top1_offsets"):
        absent = group.absent_entries("draft_top1_offsets")
        found[:, 7] = True if absent is None else ~absent.reshape(group.size, -1).all(axis=1)
    if group.has("step"):
        found[:, 8] = group["step"] == 0
    return found
