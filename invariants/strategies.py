"""Hypothesis strategies: trees, legal steps, legal runs of several turns, and mutated steps.

Only legal objects can be made, so a user's own kernel or port can be tested against them:

    @given(legal_runs())
    def test_my_port(rows): ...
"""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from invariants.catalogue import MUTATIONS
from invariants.context import RunContext
from invariants.examples import CONTEXT, Before, StepRow, Tree, legal_step, next_before
from invariants.mutation import Case, Mutation, NoPlaceError

MAX_DEPTH = 6


@st.composite
def trees(
    draw: st.DrawFn, *, root: int | None = None, min_nodes: int = 1, max_nodes: int = 12, max_pads: int = 3
) -> Tree:
    """Draw a tree in level order, siblings with different tokens, and the teacher's choice after each node.

    Args:
        draw: Given by hypothesis.
        root: Token of node 0; drawn when None.
        min_nodes: Fewest valid nodes, the root included.
        max_nodes: Most valid nodes.
        max_pads: Most pads to append.
    """
    num_nodes = draw(st.integers(min_nodes, max_nodes))
    parents, depths, tokens = [0], [0], [draw(st.integers(3, 60)) if root is None else root]
    for node in range(1, num_nodes):
        candidates = [each for each in range(parents[-1], node) if depths[each] < MAX_DEPTH]
        parent = draw(st.sampled_from(candidates or [0]))
        siblings = {tokens[each] for each in range(1, node) if parents[each] == parent}
        parents.append(parent)
        depths.append(depths[parent] + 1)
        tokens.append(draw(st.sampled_from([token for token in range(3, 60) if token not in siblings])))
    choices = [draw(_choices(parents, tokens, node)) for node in range(num_nodes)]
    return Tree(parents, tokens, choices, draw(st.integers(0, max_pads)))


def _choices(parents: list[int], tokens: list[int], node: int) -> st.SearchStrategy[int]:
    """Draw a child's token often, another token sometimes, the end of sequence seldom."""
    children = [tokens[each] for each in range(1, len(parents)) if parents[each] == node]
    return st.sampled_from([*children, *children, *children, *range(61, 64), 2])


@st.composite
def legal_runs(
    draw: st.DrawFn, *, max_turns: int = 2, max_steps: int = 4, context: RunContext = CONTEXT
) -> list[StepRow]:
    """Draw the rows of one prompt: turns of steps that follow each other, all legal.

    Args:
        draw: Given by hypothesis.
        max_turns: Most turns.
        max_steps: Most steps of a turn; fewer when a turn stops.
        context: Facts of the run.
    """
    rows: list[StepRow] = []
    prompt_id = draw(st.integers(0, 3))
    for turn in range(draw(st.integers(1, max_turns))):
        prompt_len = draw(st.integers(1, 40))
        before = Before(prompt_id, turn, 0, prompt_len, prompt_len, draw(st.integers(0, 2**64 - 1)))
        row = legal_step(draw(trees()), before, context)
        rows.append(row)
        for _ in range(draw(st.integers(0, max_steps - 1))):
            if row["stop_reason"] is not None:
                break
            before = next_before(row, before)
            row = legal_step(draw(trees(root=row["final_token_id"])), before, context)
            rows.append(row)
    return rows


@st.composite
def legal_cases(draw: st.DrawFn, *, num_steps: int | None = None, min_nodes: int = 1) -> Case:
    """Draw a legal step with the step before it (unless it is the first) and the turn's first step.

    Args:
        draw: Given by hypothesis.
        num_steps: Place of the step in its turn, from 1; 1 or 2 when None.
        min_nodes: Fewest valid nodes of each tree.
    """
    prompt_len = draw(st.integers(1, 40))
    before = Before(0, 0, 0, prompt_len, prompt_len, draw(st.integers(0, 2**64 - 1)))
    row = legal_step(draw(trees(min_nodes=min_nodes)), before)
    first, previous = row, None
    for _ in range((num_steps or draw(st.integers(1, 2))) - 1):
        assume(row["stop_reason"] is None)
        before, previous = next_before(row, before), row
        row = legal_step(draw(trees(root=row["final_token_id"], min_nodes=min_nodes)), before)
    return Case(row, CONTEXT, previous, first)


@st.composite
def mutated_cases(draw: st.DrawFn, *, mutations: tuple[Mutation, ...] = MUTATIONS) -> tuple[Mutation, Case]:
    """Draw a mutation and a case changed by it; `mutation.breaks` is the rule that must report it.

    Args:
        draw: Given by hypothesis.
        mutations: Which ones to choose from.
    """
    mutation = draw(st.sampled_from(mutations))
    case = draw(legal_cases(min_nodes=3))

    def pick(places: Any) -> Any:
        return draw(st.sampled_from(list(places)))

    try:
        return mutation, mutation.apply(case, pick)
    except NoPlaceError:
        assume(False)
        raise
