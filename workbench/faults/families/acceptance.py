"""Faults of choosing and accepting: rows, walks, the final token, the end of a turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from tracing.stages import Accepted, IntArray, Tensorized, Verified
from workbench.faults.fault import Fault
from workbench.faults.placement import Scene, after, before, on_engine


def _ended_with(made: Accepted, final_token_id: int) -> Accepted:
    emitted = made.emitted_token_ids.copy()
    emitted[-1] = final_token_id
    return replace(made, final_token_id=final_token_id, emitted_token_ids=emitted)


def _along(scene: Scene, nodes: list[int]) -> Accepted:
    """Accept these nodes, whatever the teacher chose."""
    tree: Tensorized = scene.arguments[0]
    verified: Verified = scene.arguments[1]
    path = np.array([0, *nodes], dtype=np.int64)
    final = int(verified.target_token_ids[path[-1]])
    return Accepted(
        accepted_nodes=path[1:],
        final_token_id=final,
        emitted_token_ids=np.append(tree.token_ids[path[1:]], final),
        path_indices=tree.cache_positions[path],
    )


def _bonus_of_the_last_row(made: Accepted, scene: Scene) -> Accepted:
    return _ended_with(made, int(scene.arguments[1].target_token_ids[-1]))


def _residual(made: Accepted, scene: Scene) -> Accepted:
    """The bonus comes from the residual of the row before: its law without the token that was accepted."""
    tree: Tensorized = scene.arguments[0]
    path = [0, *made.accepted_nodes.tolist()]
    row = scene.arguments[1].logits[path[-2] if len(path) > 1 else 0].clone()
    row[int(tree.token_ids[path[-1]])] = -np.inf
    return _ended_with(made, int(row.argmax()))


def _first_draft_unseen(made: Accepted, scene: Scene) -> Any:
    """The first draft is committed without being compared with the choice at the root."""
    return made if len(made.accepted_nodes) else _along(scene, [1])


def _all_accepted(_: Accepted, scene: Scene) -> Any:
    """A random number that is always 0 lets every draft pass."""
    tree: Tensorized = scene.arguments[0]
    path: list[int] = []
    node = int(tree.depths.argmax())
    while node != 0:
        path.insert(0, node)
        node = int(tree.parents[node])
    return _along(scene, path)


def _first_child_only(made: Accepted, scene: Scene) -> Any:
    """Siblings after the first are never tried."""
    tree: Tensorized = scene.arguments[0]
    kept: list[int] = []
    for node in made.accepted_nodes.tolist():
        siblings = np.flatnonzero((tree.parents == tree.parents[node]) & (tree.depths > 0))
        if node != siblings[0]:
            return _along(scene, kept)
        kept.append(node)
    return made


def _emitted_twice(made: Accepted, _: Scene) -> Accepted:
    first = made.emitted_token_ids[:1]
    return replace(made, emitted_token_ids=np.concatenate([first, made.emitted_token_ids]))


def _minus_one_as_last(made: Accepted, scene: Scene) -> Accepted:
    """The path's padding, -1, is gathered too: its slot is that of the last node."""
    positions: IntArray = scene.arguments[0].cache_positions
    return replace(made, path_indices=np.append(made.path_indices[:-1], positions[-1]))


def _choices_of_the_step_before(made: Verified, scene: Scene) -> Verified:
    """The host reads the choices before the copy from the device has finished."""
    stale = scene.memory.get("choices", made.target_token_ids)
    scene.memory["choices"] = made.target_token_ids
    return replace(made, target_token_ids=stale)


def _highest_of_equals(made: Verified, _: Scene) -> Verified:
    flipped = made.logits.flip(-1).argmax(-1)
    return replace(made, target_token_ids=(made.logits.shape[-1] - 1 - flipped).numpy())


def _two_rows_exchanged(made: Verified, _: Scene) -> Verified:
    """An unstable sort exchanges the rows of the first two drafted nodes."""
    order = np.arange(len(made.target_token_ids))
    order[[1, 2]] = order[[2, 1]]
    return replace(made, logits=made.logits[order], target_token_ids=made.target_token_ids[order])


def _without_a_limit(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    return (*arguments[:2], arguments[2] + 1000)


def _stopped_by_a_draft(made: Accepted, scene: Scene) -> Accepted:
    """A rejected draft was the end-of-sequence token, and the turn ends."""
    drafted = set(scene.arguments[0].token_ids.tolist())
    return replace(made, stop_reason="eos") if drafted & scene.engine.eos_token_ids else made


def _limit_not_told(made: Accepted, _: Scene) -> Accepted:
    """The last step does not say that the limit was reached."""
    return replace(made, stop_reason=None)


def _one_token_too_few(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    """The last root is counted twice against the budget."""
    return (*arguments[:2], max(arguments[2] - 1, 1))


def _choices_overwritten(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    """The walk uses the array of choices as scratch memory."""
    arguments[1].target_token_ids[1:] = 0
    return arguments


WALK: Final = ("ACC001", "ACC002", "ACC003", "JUDGE-ACCEPT-NODES")
FINAL: Final = ("ACC004", "JUDGE-ACCEPT-FINAL")

FAULTS: Final = (
    Fault(
        id="F-ACC-01",
        name="bonus-from-the-last-row",
        about="The bonus token is the choice after the last row of the tree.",
        stage="accept",
        seen_in=("sgl#26866",),
        noticed_by=FINAL,
        place=lambda: after("accept", _bonus_of_the_last_row),
    ),
    Fault(
        id="F-ACC-02",
        name="bonus-from-the-residual",
        about="After a full acceptance the bonus is drawn from the residual of an earlier row.",
        stage="accept",
        seen_in=("eagle#50", "eagle#47"),
        noticed_by=FINAL,
        place=lambda: after("accept", _residual),
    ),
    Fault(
        id="F-ACC-03",
        name="first-draft-unseen",
        about="The first draft is accepted without being compared.",
        stage="accept",
        seen_in=("ohdearquant/lattice#243",),
        noticed_by=WALK,
        place=lambda: after("accept", _first_draft_unseen),
    ),
    Fault(
        id="F-ACC-04",
        name="everything-accepted",
        about="The deepest path is accepted at every step.",
        stage="accept",
        seen_in=("va#13470",),
        noticed_by=WALK,
        place=lambda: after("accept", _all_accepted),
    ),
    Fault(
        id="F-ACC-05",
        name="first-sibling-only",
        about="Only the first child of a node is tried; the text stays right, the speed does not.",
        stage="accept",
        seen_in=("pie-project/pie#197", "trt#10343"),
        noticed_by=WALK,
        place=lambda: after("accept", _first_child_only),
    ),
    Fault(
        id="F-ACC-06",
        name="eos-ignored",
        about="An end-of-sequence token inside the accepted path does not end the turn.",
        stage="accept",
        seen_in=("LostRuins/koboldcpp#1276", "vllm#56101"),
        noticed_by=("ACC006", "ACC007", "JUDGE-ACCEPT-STOP", "JUDGE-ACCEPT-EMITTED", "JUDGE-ACCEPT-NODES"),
        need="eos",
        place=lambda: on_engine(lambda engine: replace(engine, eos_token_ids=frozenset())),
    ),
    Fault(
        id="F-ACC-07",
        name="length-limit-overrun",
        about="The token budget is compared in the wrong units, and the turn goes beyond it.",
        stage="accept",
        seen_in=("hf#46993", "va#9749"),
        noticed_by=("ACC008", "JUDGE-ACCEPT-STOP", "JUDGE-ACCEPT-EMITTED", "JUDGE-ACCEPT-NODES"),
        place=lambda: before("accept", _without_a_limit),
    ),
    Fault(
        id="F-ACC-08",
        name="token-emitted-twice",
        about="The first token of a step is emitted twice.",
        stage="accept",
        seen_in=("kekzl/imp#667",),
        noticed_by=("ACC005", "JUDGE-ACCEPT-EMITTED"),
        place=lambda: after("accept", _emitted_twice),
    ),
    Fault(
        id="F-ACC-09",
        name="path-padding-gathered",
        about="The padding -1 of the kept positions is gathered as the last node's.",
        stage="accept",
        seen_in=("medusa utils.py, select_indices from a padded row",),
        noticed_by=("KV002", "JUDGE-ACCEPT-PATH"),
        place=lambda: after("accept", _minus_one_as_last),
    ),
    Fault(
        id="F-ACC-10",
        name="choices-of-the-step-before",
        about="The host reads the choices before they are copied, and finds those of the step before.",
        stage="verify",
        seen_in=("va#4254", "va#9456"),
        noticed_by=("LOGIT002", "JUDGE-VERIFY-ARGMAX"),
        place=lambda: after("verify", _choices_of_the_step_before),
    ),
    Fault(
        id="F-ACC-11",
        name="highest-of-equal-choices",
        about="Of two equal logits the higher token id is chosen.",
        stage="verify",
        seen_in=("vllm#7627", "ohdearquant/lattice#280"),
        noticed_by=("LOGIT002", "JUDGE-VERIFY-ARGMAX"),
        need="ties",
        place=lambda: after("verify", _highest_of_equals),
    ),
    Fault(
        id="F-ACC-12",
        name="two-rows-exchanged",
        about="The rows of two nodes change places.",
        stage="verify",
        seen_in=("va#4932",),
        noticed_by=("JUDGE-ROW-MOVED",),
        place=lambda: after("verify", _two_rows_exchanged),
    ),
    Fault(
        id="F-ACC-13",
        name="stopped-by-a-rejected-draft",
        about="A drafted end-of-sequence token ends the turn although it was rejected.",
        stage="accept",
        seen_in=("openvinotoolkit/openvino.genai#3293",),
        noticed_by=("ACC007", "JUDGE-ACCEPT-STOP"),
        need="rejected_eos",
        place=lambda: after("accept", _stopped_by_a_draft),
    ),
    Fault(
        id="F-ACC-14",
        name="limit-not-told",
        about="A turn reaches its token limit, and the step does not say that it stops.",
        stage="accept",
        seen_in=("eagle#75", "va#9221"),
        noticed_by=("ACC003", "ACC008", "JUDGE-ACCEPT-STOP"),
        place=lambda: after("accept", _limit_not_told),
    ),
    Fault(
        id="F-ACC-15",
        name="choices-overwritten-in-place",
        about="Accept uses the array of choices that verify gave as its scratch memory.",
        stage="accept",
        seen_in=("va#10901", "va#12704"),
        noticed_by=("JUDGE-INPUT-WRITTEN",),
        place=lambda: before("accept", _choices_overwritten),
    ),
    Fault(
        id="F-ACC-16",
        name="limit-one-too-early",
        about="The root is counted twice against the token budget, and a turn ends one token short.",
        stage="accept",
        seen_in=("eagle#75", "hf#47195"),
        noticed_by=("JUDGE-ACCEPT-STOP", "JUDGE-ACCEPT-EMITTED", "JUDGE-ACCEPT-NODES"),
        place=lambda: before("accept", _one_token_too_few),
    ),
)
