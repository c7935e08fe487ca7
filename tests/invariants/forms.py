"""Steps to spoil, and the forms in which they are recorded: what one form shows, another one lacks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from invariants.catalogue import BY_ID, MUTATIONS
from invariants.examples import CONTEXT, Before, StepRow, Tree, legal_step, next_before
from invariants.inputs import Row
from invariants.mutation import Case, Mutation, NoPlaceError, permuted
from invariants.needs import columns_needed
from tests.invariants.helpers import violated
from tracing.columns import COLUMN_BY_NAME, KEY_COLUMNS

START = Before()
FIRST = legal_step(Tree([0, 0, 0, 1, 1, 2], [7, 5, 6, 8, 9, 10], [5, 61, 62, 63, 64, 65], 2), START)
SECOND = legal_step(Tree([0, 0, 0, 1, 1], [61, 5, 6, 8, 9], [5, 8, 3, 10, 4], 1), next_before(FIRST, START))
AFTER = next_before(SECOND, next_before(FIRST, START))
PARENTS = [0, 0, 0, 1, 1, 2, 5, 3]
TOKENS = [10, 5, 6, 8, 9, 11, 12, 13]
THIRD = legal_step(Tree(PARENTS, TOKENS, [6, 9, 11, 61, 62, 12, 63, 64], 2), AFTER)
LAST = legal_step(Tree(PARENTS, TOKENS, [6, 9, 11, 61, 62, 2, 63, 64], 0), AFTER)
NOTHING = legal_step(Tree(PARENTS, TOKENS, [60, 9, 11, 61, 62, 12, 63, 64], 1), AFTER)
FEW = (
    *(
        "committed_len",
        "token_ids",
        "parents",
        "depths",
        "valid",
        "position_ids",
        "visible",
        "target_token_ids",
    ),
    *("accepted_nodes", "final_token_id", "emitted_token_ids", "path_indices", "committed_len_after"),
)
"""What an engine records that copies no more than its step tensors."""
ALWAYS = frozenset((*KEY_COLUMNS, "stop_reason", "commit_fallback", "incomplete", "discarded_token_ids"))
"""Columns whose null is an answer, which a form that left them out would change."""


def _cases() -> Iterator[tuple[str, Case]]:
    yield "first", Case(FIRST, CONTEXT, None, FIRST)
    yield "third", Case(THIRD, CONTEXT, SECOND, FIRST)
    yield "last", Case(LAST, CONTEXT, SECOND, FIRST)
    yield "nothing accepted", Case(NOTHING, CONTEXT, SECOND, FIRST)
    yield "depth first", permuted(Case(THIRD, CONTEXT, SECOND, FIRST), [0, 1, 3, 7, 4, 2, 5, 6, 8, 9])


CASES = dict(_cases())


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A case that a mutation has spoilt, recorded in one form, and the rules that report it."""

    mutation: Mutation
    start: str
    form: str
    case: Case
    broken: tuple[str, ...]

    @property
    def rows(self) -> list[Row]:
        """The turn up to the step, as far as it is recorded."""
        one = self.case
        before = [each for each in (one.first, one.previous) if each is not None and one.previous]
        return [*before, *one.between, one.row]

    def __str__(self) -> str:
        return f"{self.mutation.name} at {self.start}, {self.form}"


def only(case: Case, names: frozenset[str]) -> Case:
    """The case with some of its columns, in each of its steps."""

    def kept(row: Any) -> StepRow:
        return {name: value for name, value in row.items() if name in names | ALWAYS}

    earlier = {name: kept(row) for name in ("previous", "first") if (row := getattr(case, name)) is not None}
    between = tuple(map(kept, case.between))
    return replace(case, row=kept(case.row), between=between, **earlier)


def forms(mutation: Mutation, case: Case) -> Iterator[tuple[str, Case]]:
    """The forms of a spoilt case; those that name columns of its rule let the rule look."""
    rule, every = BY_ID[mutation.breaks], frozenset(case.row)
    needed = frozenset(columns_needed(rule))
    yield "all columns", case
    yield "columns reversed", replace(case, row=dict(reversed(case.row.items())))
    yield "no slots", only(case, every - {"slots"})
    yield "level basic", only(case, frozenset(n for n in every if COLUMN_BY_NAME[n].level == "basic"))
    yield "few columns", only(case, frozenset(FEW))
    yield "what its rule needs", only(case, needed)
    needed |= {"parents"}
    yield "needed and parents", only(case, needed)
    yield (
        "what its rule reads",
        only(case, needed | {name.removeprefix("previous_") for name in rule.arguments}),
    )
    for name in rule.optional:
        yield f"needed and {name}", only(case, needed | {name})
    random = np.random.default_rng(sum(map(ord, mutation.name)))
    for number in range(4):
        chosen = {name for name in sorted(every) if random.random() < 0.6}
        yield f"random {number}", only(case, needed | chosen if number % 2 else frozenset(chosen))


@cache
def spoilt_by(mutation: Mutation) -> tuple[Spoilt, ...]:
    """A mutation wherever it finds a place, in every form."""
    found = []
    for start, case in CASES.items():
        with contextlib.suppress(NoPlaceError):
            for name, each in forms(mutation, mutation.apply(case)):
                found.append(Spoilt(mutation, start, name, each, tuple(violated(each))))
    return tuple(found)


def spoilt_cases() -> tuple[Spoilt, ...]:
    """Every mutation wherever it finds a place, in every form."""
    return tuple(each for mutation in MUTATIONS for each in spoilt_by(mutation))
