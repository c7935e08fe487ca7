"""Steps of one kind: where every rule that holds has the same reason to hold, or not to be checked.

For steps that the prefilter does not flag, a rule is either held or not checked, and which of the two depends
on what the step records and on what applicability clauses say. So one step of a kind speaks for all.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from invariants.batch.forms import numbered
from invariants.batch.group import groups
from invariants.batch.steps import Batch
from invariants.catalogue import APPLICABILITY
from invariants.rule import BoolArray, IntArray

Kind = tuple[bytes, bytes]
CLAUSES: Final = tuple({each.check: each for each in APPLICABILITY}.values())
"""Applicability clauses, those with the same function once."""


def kinds(batch: Batch, left_out: BoolArray, texts: dict[str, int]) -> tuple[IntArray, list[Kind]]:
    """Return the number of the kind of each step, `[S]`, and the kinds; -1 for those left out.

    Args:
        batch: The steps.
        left_out: Steps that the loop looks at, `[S]`.
        texts: Numbers that stand for texts in kinds, from 1; new texts are added. Keep it between batches.
    """
    found = np.zeros((batch.num_steps, len(CLAUSES) + 1), dtype=np.int64)
    for alone in (True, False):
        clauses = [(place, each) for place, each in enumerate(CLAUSES) if each.looks_back != alone]
        for group in groups(batch, left_out, alone=alone) if clauses else ():
            for place, clause in clauses:
                arguments = group.arguments(clause)
                if arguments is not None:
                    group.put(found[:, place], _numbers(clause.check(**arguments), texts))
    forms, form_of = batch.forms
    found[:, -1] = forms
    numbers, rows = numbered(found)
    names = [(form_of[int(np.frombuffer(row[-8:], dtype=np.int64)[0])], row[:-8]) for row in rows]
    return np.where(left_out, -1, numbers), names


def _numbers(values: NDArray[Any], texts: dict[str, int]) -> NDArray[Any] | list[int] | int:
    """Return numbers as they are, and a number for each text."""
    if values.dtype != object:
        return values
    if (values == values[0]).all():
        return texts.setdefault(values[0], len(texts) + 1)
    return [texts.setdefault(text, len(texts) + 1) for text in values.tolist()]
