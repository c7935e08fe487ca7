"""Faults of choosing and accepting: rows, walks, the final token, the end of a turn."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from tracing.stages import Accepted, IntArray, Tensorized, Verified
from workbench.faults.fault import fault
from workbench.faults.placement import Scene, before, on_engine
from workbench.fused.engine import Engine

WALK: Final = ("ACC001", "ACC002", "ACC003", "JUDGE-ACCEPT-NODES")
FINAL: Final = ("ACC004", "JUDGE-ACCEPT-FINAL")
STOP: Final = ("JUDGE-ACCEPT-STOP", "JUDGE-ACCEPT-EMITTED", "JUDGE-ACCEPT-NODES")
CHOICE: Final = ("LOGIT002", "JUDGE-VERIFY-ARGMAX")


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


accept_fault: Final = partial(fault, stage="accept")


@accept_fault("F-ACC-01", "sgl#26866", noticed_by=FINAL)
def bonus_from_the_last_row(made: Accepted, scene: Scene) -> Accepted:
    """The bonus token is the choice after the last row of the tree."""
    return _ended_with(made, int(scene.arguments[1].target_token_ids[-1]))


@accept_fault("F-ACC-02", "eagle#50", "eagle#47", noticed_by=FINAL)
def bonus_from_the_residual(made: Accepted, scene: Scene) -> Accepted:
    """After a full acceptance the bonus is drawn from the residual of an earlier row.

    The residual is the law of the row before, without the token that was accepted.
    """
    tree: Tensorized = scene.arguments[0]
    path = [0, *made.accepted_nodes.tolist()]
    row = scene.arguments[1].logits[path[-2] if len(path) > 1 else 0].clone()
    row[int(tree.token_ids[path[-1]])] = -np.inf
    return _ended_with(made, int(row.argmax()))


@accept_fault("F-ACC-03", "ohdearquant/lattice#243", noticed_by=WALK)
def first_draft_unseen(made: Accepted, scene: Scene) -> Any:
    """The first draft is accepted without being compared."""
    return made if len(made.accepted_nodes) else _along(scene, [1])


@accept_fault("F-ACC-04", "va#13470", noticed_by=WALK)
def everything_accepted(_: Accepted, scene: Scene) -> Any:
    """The deepest path is accepted at every step.

    A random number that is always 0 lets every draft pass.
    """
    tree: Tensorized = scene.arguments[0]
    path: list[int] = []
    node = int(tree.depths.argmax())
    while node != 0:
        path.insert(0, node)
        node = int(tree.parents[node])
    return _along(scene, path)


@accept_fault("F-ACC-05", "pie-project/pie#197", "trt#10343", noticed_by=WALK)
def first_sibling_only(made: Accepted, scene: Scene) -> Any:
    """Only the first child of a node is tried; the text stays right, the speed does not."""
    tree: Tensorized = scene.arguments[0]
    kept: list[int] = []
    for node in made.accepted_nodes.tolist():
        siblings = np.flatnonzero((tree.parents == tree.parents[node]) & (tree.depths > 0))
        if node != siblings[0]:
            return _along(scene, kept)
        kept.append(node)
    return made


@accept_fault(
    "F-ACC-06",
    "LostRuins/koboldcpp#1276",
    "vllm#56101",
    noticed_by=("ACC006", "ACC007", *STOP),
    placed=on_engine,
    need="eos",
)
def eos_ignored(engine: Engine) -> Engine:
    """An end-of-sequence token inside the accepted path does not end the turn."""
    return replace(engine, eos_token_ids=frozenset())


@accept_fault("F-ACC-07", "hf#46993", "va#9749", noticed_by=("ACC008", *STOP), placed=before("accept"))
def length_limit_overrun(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    """The token budget is compared in the wrong units, and the turn goes beyond it."""
    return (*arguments[:2], arguments[2] + 1000)


@accept_fault("F-ACC-08", "kekzl/imp#667", noticed_by=("ACC005", "JUDGE-ACCEPT-EMITTED"))
def token_emitted_twice(made: Accepted, _: Scene) -> Accepted:
    """The first token of a step is emitted twice."""
    first = made.emitted_token_ids[:1]
    return replace(made, emitted_token_ids=np.concatenate([first, made.emitted_token_ids]))


@accept_fault(
    "F-ACC-09", "medusa utils.py, select_indices from a padded row", noticed_by=("KV002", "JUDGE-ACCEPT-PATH")
)
def path_padding_gathered(made: Accepted, scene: Scene) -> Accepted:
    """The padding -1 of the kept positions is gathered as the last node's."""
    positions: IntArray = scene.arguments[0].cache_positions
    return replace(made, path_indices=np.append(made.path_indices[:-1], positions[-1]))


@fault("F-ACC-10", "va#4254", "va#9456", stage="verify", noticed_by=("JUDGE-STALE",))
def choices_of_the_step_before(made: Verified, scene: Scene) -> Verified:
    """The host reads the choices before they are copied, and finds those of the step before."""
    stale = scene.memory.get("choices", made.target_token_ids)
    scene.memory["choices"] = made.target_token_ids
    return replace(made, target_token_ids=stale)


@fault("F-ACC-11", "vllm#7627", "ohdearquant/lattice#280", stage="verify", noticed_by=CHOICE, need="ties")
def highest_of_equal_choices(made: Verified, _: Scene) -> Verified:
    """Of two equal logits the higher token id is chosen."""
    flipped = made.logits.flip(-1).argmax(-1)
    return replace(made, target_token_ids=(made.logits.shape[-1] - 1 - flipped).cpu().numpy())


@fault("F-ACC-12", "va#4932", stage="verify", noticed_by=("JUDGE-ROW-MOVED",))
def two_rows_exchanged(made: Verified, _: Scene) -> Verified:
    """The rows of two nodes change places.

    An unstable sort exchanges those of the first two drafted nodes.
    """
    order = np.arange(len(made.target_token_ids))
    order[[1, 2]] = order[[2, 1]]
    return replace(made, logits=made.logits[order], target_token_ids=made.target_token_ids[order])


@accept_fault(
    "F-ACC-13",
    "openvinotoolkit/openvino.genai#3293",
    noticed_by=("ACC007", "JUDGE-ACCEPT-STOP"),
    need="rejected_eos",
)
def stopped_by_a_rejected_draft(made: Accepted, scene: Scene) -> Accepted:
    """A drafted end-of-sequence token ends the turn although it was rejected."""
    drafted = set(scene.arguments[0].token_ids.tolist())
    return replace(made, stop_reason="eos") if drafted & scene.engine.eos_token_ids else made


@accept_fault("F-ACC-14", "eagle#75", "va#9221", noticed_by=("ACC003", "ACC008", "JUDGE-ACCEPT-STOP"))
def limit_not_told(made: Accepted, _: Scene) -> Accepted:
    """A turn reaches its token limit, and the step does not report that it stops."""
    return replace(made, stop_reason=None)


@accept_fault(
    "F-ACC-15", "va#10901", "va#12704", noticed_by=("JUDGE-INPUT-WRITTEN",), placed=before("accept")
)
def choices_overwritten_in_place(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    """Accept uses the array of choices that verify gave as its scratch memory."""
    arguments[1].target_token_ids[1:] = 0
    return arguments


@accept_fault("F-ACC-16", "eagle#75", "hf#47195", noticed_by=STOP, placed=before("accept"))
def limit_one_too_early(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    """The root is counted twice against the token budget, and a turn ends one token short."""
    return (*arguments[:2], max(arguments[2] - 1, 1))
