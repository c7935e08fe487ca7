"""Mistakes in the acceptance of the partial port of the examples, the only stage that it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from causes.mistake import Family, bend, bend_to_the_call_before
from examples.partial_port import Port, PortState
from tracing.stages import DecodePath, Stages
from workbench.faults.experiment import Setup


def build(setup: Setup) -> Port:
    """Return the port for a job."""
    port = Port(setup.pair.eos_token_ids)
    vars(port)["dtype"] = setup.dtype
    return port


def path_of(port: Any) -> DecodePath:
    """Return the port as a path under test."""
    stages, info = Stages(accept=port.accept), {"device": "cpu", "dtype": port.dtype}
    return DecodePath(name="partial-port", stages=stages, begin=PortState, info=info)


mistake = Family("partial", build, path_of)


@mistake.bends("accept", "_matches")
def matched_with_the_own_row(right: Any, tree: Any, verified: Any) -> Any:
    made = tree.token_ids == verified.target_token_ids
    made[0] = True
    return made


@mistake.bends("accept", "_matches")
def matched_with_the_row_before(right: Any, tree: Any, verified: Any) -> Any:
    made = tree.token_ids == np.roll(verified.target_token_ids, 1)
    made[0] = True
    return made


mistake.add("accept", "everything-matches", "_matches", lambda right, *given: right(*given) | True)
mistake.add("accept", "nothing-matches", "_matches", lambda right, *given: np.arange(len(right(*given))) == 0)
mistake.add(
    "accept",
    "first-draft-always-matches",
    "_matches",
    lambda right, *given: right(*given) | (np.arange(len(right(*given))) == 1),
)


@mistake.bends("accept", "_matches")
def last_match_lost(right: Any, *given: Any) -> Any:
    made = right(*given).copy()
    made[np.flatnonzero(made)[-1] if made.sum() > 1 else 0] = made.sum() <= 1
    return made


@mistake("accept")
def matches_of_the_step_before(port: Any) -> None:
    bend_to_the_call_before(port, "_matches")


@mistake.bends("accept", "_cut", need="eos")
def no_cut_at_the_end(right: Any, emitted: Any, remaining: int) -> Any:
    return emitted[:remaining], "length" if len(emitted) >= remaining else None


mistake.add(
    "accept", "no-cut-at-the-limit", "_cut", lambda right, emitted, remaining: right(emitted, remaining + 3)
)
mistake.add(
    "accept",
    "cut-one-token-early",
    "_cut",
    lambda right, emitted, remaining: right(emitted[:-1] if len(emitted) > 1 else emitted, remaining),
)
mistake.add("accept", "limit-not-told", "_cut", lambda right, *given: (right(*given)[0], None))
mistake.add("accept", "stop-told-at-each-step", "_cut", lambda right, *given: (right(*given)[0], "eos"))


def _changed(port: Any, **changes: Any) -> None:
    def wrong(right: Any, state: Any, tree: Any, verified: Any, remaining: int) -> Any:
        made = right(state, tree, verified, remaining)
        given = (made, tree, verified)
        return replace(made, **{name: change(*given) for name, change in changes.items()})

    bend(port, "accept", wrong)


@mistake("accept")
def final_token_after_the_root(port: Any) -> None:
    _changed(port, final_token_id=lambda made, _, verified: int(verified.target_token_ids[0]))


@mistake("accept")
def final_token_after_the_last_row(port: Any) -> None:
    _changed(port, final_token_id=lambda made, tree, verified: int(verified.target_token_ids[-1]))


@mistake("accept")
def final_token_not_emitted(port: Any) -> None:
    _changed(port, emitted_token_ids=lambda made, *_: made.emitted_token_ids[:-1])


@mistake("accept")
def root_emitted_again(port: Any) -> None:
    _changed(
        port, emitted_token_ids=lambda made, tree, _: np.append(tree.token_ids[0], made.emitted_token_ids)
    )


@mistake("accept")
def emitted_in_another_order(port: Any) -> None:
    _changed(port, emitted_token_ids=lambda made, *_: made.emitted_token_ids[::-1])


@mistake("accept")
def root_counted_as_accepted(port: Any) -> None:
    _changed(port, accepted_nodes=lambda made, *_: np.append(0, made.accepted_nodes))


@mistake("accept")
def accepted_nodes_by_depth(port: Any) -> None:
    _changed(port, accepted_nodes=lambda made, *_: np.arange(1, len(made.accepted_nodes) + 1))


@mistake("accept")
def kept_rows_without_the_prefix(port: Any) -> None:
    _changed(port, path_indices=lambda made, tree, _: made.path_indices - tree.cache_positions[0])


@mistake("accept")
def kept_rows_without_the_root(port: Any) -> None:
    _changed(port, path_indices=lambda made, *_: made.path_indices[1:])


@mistake("accept")
def kept_rows_are_positions(port: Any) -> None:
    def positions(made: Any, tree: Any, _: Any) -> Any:
        return tree.position_ids[[0, *made.accepted_nodes.tolist()]]

    _changed(port, path_indices=positions)


@mistake.bends("accept", "_matches")
def longestpath_of_the_last_leaf(right: Any, tree: Any, verified: Any) -> Any:
    """Of paths of equal length the last is taken, and any child counts as a match of the deepest level."""
    return right(tree, verified) | (tree.depths == 1) & (np.arange(len(tree.depths)) == 2)
