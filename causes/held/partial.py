"""Mistakes in the acceptance of the partial port of the examples; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from causes.level.port import bend
from causes.mistake import Family
from causes.partial import build, path_of

mistake = Family("partial", build, path_of, held_out=True)


@mistake("accept")
def matched_with_the_choice_after_the_grandparent(port: Any) -> None:
    def far(right: Any, tree: Any, verified: Any) -> Any:
        made = tree.token_ids == verified.target_token_ids[tree.parents[tree.parents]]
        made[0] = True
        return made

    bend(port, "_matches", far)


@mistake("accept")
def only_three_rows_compared(port: Any) -> None:
    bend(port, "_matches", lambda right, *given: right(*given) & (np.arange(len(given[0].token_ids)) < 3))


@mistake("accept", need="eos")
def end_token_dropped(port: Any) -> None:
    def cut(right: Any, emitted: Any, remaining: int) -> Any:
        made, reason = right(emitted, remaining)
        return (made[:-1] if reason == "eos" and len(made) > 1 else made), reason

    bend(port, "_cut", cut)


@mistake("accept")
def limit_includes_the_root(port: Any) -> None:
    bend(port, "_cut", lambda right, emitted, remaining: right(emitted, max(remaining - 1, 1)))


@mistake("accept")
def stop_reason_never_given(port: Any) -> None:
    bend(port, "_cut", lambda right, *given: (right(*given)[0], None))


@mistake("tokens")
def final_token_of_the_node_itself(port: Any) -> None:
    def own(right: Any, state: Any, tree: Any, verified: Any, remaining: int) -> Any:
        made = right(state, tree, verified, remaining)
        last = (
            int(tree.token_ids[made.accepted_nodes[-1]]) if len(made.accepted_nodes) else made.final_token_id
        )
        return replace(
            made, final_token_id=last, emitted_token_ids=np.append(made.emitted_token_ids[:-1], last)
        )

    bend(port, "accept", own)


@mistake("commit")
def kept_rows_one_further(port: Any) -> None:
    def further(right: Any, *given: Any) -> Any:
        made = right(*given)
        return replace(made, path_indices=made.path_indices + 1)

    bend(port, "accept", further)
