"""Mistakes in the acceptance of the partial port of the examples; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from causes.mistake import Family
from causes.partial import build, path_of

mistake = Family("partial", build, path_of, held_out=True)


@mistake.bends("accept", "_matches")
def matched_with_the_choice_after_the_grandparent(right: Any, tree: Any, verified: Any) -> Any:
    made = tree.token_ids == verified.target_token_ids[tree.parents[tree.parents]]
    made[0] = True
    return made


mistake.add(
    "accept",
    "only-three-rows-compared",
    "_matches",
    lambda right, *given: right(*given) & (np.arange(len(given[0].token_ids)) < 3),
)


@mistake.bends("accept", "_cut", need="eos")
def end_token_dropped(right: Any, emitted: Any, remaining: int) -> Any:
    made, reason = right(emitted, remaining)
    return (made[:-1] if reason == "eos" and len(made) > 1 else made), reason


mistake.add(
    "accept",
    "limit-includes-the-root",
    "_cut",
    lambda right, emitted, remaining: right(emitted, max(remaining - 1, 1)),
)
mistake.add("accept", "stop-reason-never-given", "_cut", lambda right, *given: (right(*given)[0], None))


@mistake.bends("tokens", "accept")
def final_token_of_the_node_itself(right: Any, state: Any, tree: Any, verified: Any, remaining: int) -> Any:
    made = right(state, tree, verified, remaining)
    last = int(tree.token_ids[made.accepted_nodes[-1]]) if len(made.accepted_nodes) else made.final_token_id
    return replace(made, final_token_id=last, emitted_token_ids=np.append(made.emitted_token_ids[:-1], last))


@mistake.bends("commit", "accept")
def kept_rows_one_further(right: Any, *given: Any) -> Any:
    made = right(*given)
    return replace(made, path_indices=made.path_indices + 1)
