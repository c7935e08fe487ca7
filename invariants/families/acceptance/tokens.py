"""The final token and the tokens that go out."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import Flags, accepted_at, entries_at, prefilter
from invariants.rule import IntArray, Violation, Violations, invariant, listed, require_greedy


@invariant("ACC004", stage="accept", requires=("ACC001",))
def final_token_from_another_row(
    accepted_nodes: IntArray, target_token_ids: IntArray, final_token_id: int, acceptance: str = "greedy"
) -> Violations:
    """The final token is not the teacher's choice after the last accepted node.

    ## What it does
    Checks `final_token_id == target_token_ids[last]`, where `last` is the last accepted node or the root.

    ## Why it matters
    The bonus or correction is read from the wrong row: one wrong token per step, in fluent text.

    ## Example
    Nodes 1 and 3 are accepted, and the final token is the choice after node 1.

    ## Seen in
    SafeAILab/EAGLE pull request 47 (bonus from an earlier residual), sgl-project/sglang#26866 (bonus stride
    wrong for batches).

    ## Limits
    Greedy decoding. A token that is cut at EOS or at the limit is still the choice at its place.
    """
    require_greedy(acceptance)
    last = int(accepted_nodes[-1]) if len(accepted_nodes) else 0
    choice = int(target_token_ids[last])
    if final_token_id != choice:
        rows = (target_token_ids == final_token_id).nonzero()[0].tolist()
        where = f"; it is the choice after {listed(rows)}" if rows else ""
        message = f"the final token is {final_token_id}, the choice after node {last} is {choice}{where}"
        yield Violation(message, "final_token_id", last, found=int(final_token_id), expected=choice)


@invariant("ACC005", stage="accept", requires=("ACC001", "ROW001"))
def emitted_is_not_path_plus_final(
    accepted_nodes: IntArray,
    token_ids: IntArray,
    final_token_id: int,
    emitted_token_ids: IntArray,
    discarded_token_ids: IntArray | None = None,
) -> Violations:
    """The emitted tokens are not the accepted tokens followed by the final one.

    ## What it does
    Compares `emitted_token_ids`, and after them `discarded_token_ids` (committed, never emitted), with the
    tokens of `accepted_nodes` and then `final_token_id`.

    ## Why it matters
    The user gets a doubled, lost or swapped token while the cache holds the right ones, and from then on
    text and cache disagree.

    ## Example
    `emitted_token_ids = [5, 5, 9]` where 5 was accepted once.

    ## Seen in
    kekzl/imp#667 (a token doubled at the accept boundary), huggingface/transformers#46993 (one too many).

    ## Limits
    None.
    """
    expected = [int(token_ids[node]) for node in accepted_nodes.tolist()] + [int(final_token_id)]
    thrown = [] if discarded_token_ids is None else discarded_token_ids.tolist()
    found = emitted_token_ids.tolist() + thrown
    if found != expected:
        what = "emitted and then discarded" if thrown else "emitted"
        message = f"{what} {listed(found)}; accepted path and final token are {listed(expected)}"
        yield Violation(message, "emitted_token_ids", found=listed(found), expected=listed(expected))


CLAUSES: Final = (
    prefilter("ACC005", "ACC006", "ACC007")(lambda discarded_token_ids: discarded_token_ids.lengths > 0),
    prefilter("ACC005")(
        lambda emitted_token_ids, accepted_nodes: emitted_token_ids.lengths != accepted_nodes.lengths + 1
    ),
)


@prefilter("ACC004")
def _not_the_last_choice(
    accepted_nodes: Ragged, target_token_ids: IntArray, final_token_id: IntArray
) -> Flags:
    last = accepted_nodes.last(0)
    return final_token_id != entries_at(target_token_ids, np.arange(len(last)), last)


@prefilter("ACC005")
def _emitted_otherwise(
    emitted_token_ids: Ragged, accepted_nodes: Ragged, token_ids: IntArray, final_token_id: IntArray
) -> Flags:
    step, place = emitted_token_ids.owner, emitted_token_ids.place
    on_path = place < accepted_nodes.lengths[step]
    token = entries_at(token_ids, step, accepted_at(accepted_nodes, step, place, on_path))
    return emitted_token_ids.any_step(
        emitted_token_ids.values != np.where(on_path, token, final_token_id[step])
    )


def _final_from_elsewhere(case: Case, _: Pick) -> Case:
    token = case.other_token(case.row["final_token_id"])
    return case.uncut.poked("emitted_token_ids", -1, token).edited(final_token_id=token)


def _emitted_doubled(case: Case, _: Pick) -> Case:
    final = case.row["final_token_id"]
    if final in (case.context.eos_token_ids or ()):
        raise NoPlaceError("the final token ends the turn")
    return case.edited(emitted_token_ids=np.append(case.row["emitted_token_ids"], np.int32(final)))


def _tail_discarded(case: Case, *more: int) -> Case:
    """Return the case with the last emitted token thrown away by the engine, and more that nobody chose."""
    emitted = case.where(len(case.accepted), "nothing accepted").uncut.row["emitted_token_ids"]
    tail = np.array([emitted[-1], *more], dtype=np.int32)
    cut = case.edited(emitted_token_ids=emitted[:-1], discarded_token_ids=tail, stop_reason="length")
    return cut.edited(emitted_logprobs=None)


MUTATIONS: Final[Changes] = {
    "ACC005 discarded-more-than-committed": lambda case, _: _tail_discarded(case, 1),
    "ACC005 whole-path-emitted-and-a-tail": lambda case, _: case.uncut.edited(
        discarded_token_ids=case.row["emitted_token_ids"][-1:]
    ),
    "ACC004 final-from-elsewhere": _final_from_elsewhere,
    "ACC005 emitted-swapped": lambda case, pick: case.poked(
        "emitted_token_ids", pick(range(len(case.accepted) + 1)), case.other_token(-1)
    ),
    "ACC005 emitted-doubled": _emitted_doubled,
    "ACC005 emitted-and-discarded": lambda case, _: case.edited(
        discarded_token_ids=np.array([case.row["final_token_id"]], np.int32)
    ),
}
