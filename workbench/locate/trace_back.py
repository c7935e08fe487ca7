"""From a wrong token or row to the step and stage where the wrong value entered the committed cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reference.model import ReferenceModels
from tracing.digest import EMPTY, chain
from tracing.moment import Moment
from workbench.locate.culprit import Culprit
from workbench.locate.forwards import Forward
from workbench.locate.handed_over import CACHE, cache_before
from workbench.locate.located import Located, judged
from workbench.locate.opening import opened, true_past
from workbench.locate.row_watch import RowWatch, Write, order_of
from workbench.locate.scene import StageRerun, Subject, scene_at
from workbench.view.chain_file import Link
from workbench.view.counted import counted

CLEAN: Final = "the cache that this step reads is right"


@dataclass(frozen=True, slots=True)
class TracedBack:
    """The way from a symptom to its writer.

    Attributes:
        links: The symptom first, the writer last.
        writer: Where the wrong value entered; None where that is not known.
        located: The stage of the writer, opened; None where it is not one with a network.
        remarks: What could not be known, and what was tried.
    """

    links: tuple[Link, ...]
    writer: Moment | None = None
    located: Located | None = None
    remarks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "links": [link.as_json() for link in self.links],
            "writer": None if self.writer is None else str(self.writer),
            "located": None if self.located is None else self.located.as_json(),
            "remarks": list(self.remarks),
        }


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a recording says of the step of a symptom.

    Attributes:
        committed: Tokens before it.
        digest: Chain over its cache rows before verify, or None.
    """

    committed: tuple[int, ...]
    digest: int | None = None


def trace_back(subject: Subject, symptom: Link, before: Recorded | None = None) -> TracedBack:
    """Run the path again up to a symptom, and back to what wrote the rows that it read.

    Args:
        subject: The path under test; its turns are those of the symptom.
        symptom: What is wrong, at a step; its node is the row that chose a wrong token.
        before: What was recorded, if that is another run than this one.

    Raises:
        UsageError: The path does not come to that step again.
    """
    watch = RowWatch()
    if symptom.moment.stage == "prefill":
        scene = scene_at(subject, symptom.moment, after_stage=watch)
        return _of_this_step(subject, scene, symptom, symptom.moment, "nothing is cached before it")
    at = symptom.moment.at("verify", symptom.moment.node)
    scene = scene_at(subject, at, after_stage=watch)
    same = () if before is None else _compared(scene, before)
    wrong = _wrong_rows(subject, scene)
    writes = [(row, write) for row in wrong if (write := watch.last_before(row, at)) is not None]
    if not writes:
        shown = watch.shows_rows
        cache = CLEAN if shown else f"{subject.path.name} shows no rows of its cache (kv_rows)"
        return _of_this_step(subject, scene, symptom, at, *same, cache)
    position, write = min(writes, key=lambda each: (order_of(each[1].at), each[0]))
    reads = Link(at, f"verify reads {counted(len(wrong), 'wrong row')} of the cache: {_numbers(wrong)}")
    link, located = _writer(subject, watch, position, write)
    remarks = (*same, *_tried(subject, scene, at.node, position))
    return TracedBack((symptom, reads, link), link.moment, located, remarks)


def _of_this_step(
    subject: Subject, scene: StageRerun, symptom: Link, at: Moment, *remarks: str
) -> TracedBack:
    """Open the stage itself: what it reads is right, or is not known."""
    located = judged(subject, scene, at)
    if not located.culprits:
        return TracedBack((symptom,), None, None, (*remarks, located.conclusion))
    link = Link(at, f"{at.stage} computes it wrong: {_first(located.culprits)}")
    return TracedBack((symptom, link), at, located, remarks)


def _compared(scene: StageRerun, before: Recorded) -> tuple[str, ...]:
    """Say whether the run is the recorded one."""
    if tuple(scene.turn_state.committed) != before.committed:
        return ("the path decodes other tokens now than were recorded: this is about the run of now",)
    if before.digest is None or scene.results.rows_before is None:
        return ("the path decodes the recorded tokens again",)
    if chain(EMPTY, scene.results.rows_before) == before.digest:
        return ("the path decodes the recorded tokens again, and its cache has the recorded bits",)
    return ("the path decodes the recorded tokens again, and its cache has other bits than recorded",)


def _wrong_rows(subject: Subject, scene: StageRerun) -> list[int]:
    """Return the positions at which any layer's key or value is not what the committed tokens give."""
    stage = opened(scene, subject.runner)
    rows: set[int] = set()
    for culprit in cache_before(scene, stage.forwards, subject.runner, subject.dtype):
        own = culprit.extent.rows
        rows |= set(range(scene.results.committed_len) if own is None else own)
    return sorted(rows)


def _writer(subject: Subject, watch: RowWatch, position: int, write: Write) -> tuple[Link, Located | None]:
    """Say who gave a position its wrong value."""
    first = watch.writes[position][0]
    if write.was is not None:
        return Link(write.at, _written_over(watch, position, write, first)), None
    if write.at.stage == "prefill":
        located = judged(subject, scene_at(subject, write.at), write.at)
        return Link(write.at, f"prefill wrote position {position} wrong: {_told(located)}"), located
    verify = write.at.at("verify", write.at.node)
    holds = watch.nodes.get(write.digest)
    if holds is None or (holds.step, holds.node) != (write.at.step, write.at.node):
        there = "bytes of no row of its tree" if holds is None else f"the row of {holds}"
        right = "nothing" if write.at.node is None else f"that of node {write.at.node}"
        return Link(write.at, f"commit put {there} at position {position}, where {right} belongs"), None
    located = judged(subject, scene_at(subject, verify), verify)
    if located.culprits:
        text = f"verify computed the row of position {position} wrong: {_told(located)}"
        return Link(verify, text), located
    return Link(verify, f"verify wrote the row of position {position}; {located.conclusion}"), located


def _written_over(watch: RowWatch, position: int, write: Write, first: Write) -> str:
    holds = watch.nodes.get(write.digest)
    other = next(
        (each for each, own in enumerate(watch.writes) if each != position and own[0].digest == write.digest),
        None,
    )
    there = "other bytes" if holds is None else f"the row of {holds}"
    if other is not None:
        there = f"the row of position {other}"
    written = f"written by {first.at.stage} of step {first.at.step}"
    return f"{write.at.stage} put {there} at position {position}, which was {written}"


def _tried(subject: Subject, scene: StageRerun, node: int | None, position: int) -> list[str]:
    """Give the reference the rows that were there, and one of them alone: does it choose the same tokens?"""
    stage, results = opened(scene, subject.runner), scene.results
    if not stage.forwards or results.tensorized is None or results.verified is None:
        return []
    forward, models = stage.forwards[0], subject.runner.truth
    true = true_past(scene, subject.runner, models, forward.num_past)
    shown = {name: tensor.to(true[name].dtype) for name, tensor in forward.past(models).items()}
    alone = {name: tensor.clone() for name, tensor in true.items()}
    for name, tensor in alone.items():
        tensor[position] = shown[name][position]
    right, found, of_one = (_choices(forward, models, own) for own in (true, shown, alone))
    if node is None:
        changed = np.flatnonzero((right != found) & results.tensorized.valid)
        node = int(changed[0]) if changed.size else 0
    if right[node] == found[node]:
        return [f"after node {node} the reference chooses {right[node]} over these rows too"]
    own = int(np.asarray(results.verified.target_token_ids)[node])
    same = "as the path does" if own == found[node] else f"the path chooses {own}"
    one = "enough" if of_one[node] == found[node] else f"not enough ({of_one[node]})"
    chosen = f"{found[node]} over these rows, {same}, and {right[node]} over right ones"
    return [f"after node {node} the reference chooses {chosen}; that of position {position} alone is {one}"]


def _choices(forward: Forward, models: ReferenceModels, past: dict[str, Tensor]) -> NDArray[np.int64]:
    """Return the token that each row chooses over these cache rows."""
    logits = replace(forward, past=lambda _: past).whole(models)["teacher.logits"]
    choices: NDArray[np.int64] = logits.argmax(-1).numpy()
    return choices


def _told(located: Located) -> str:
    """Name the first tensor that is wrong on right inputs."""
    own = [each for each in located.culprits if each.operator != CACHE] or list(located.culprits)
    return _first(own) if own else located.conclusion


def _first(culprits: Any) -> str:
    first: Culprit = culprits[0]
    return f"{first.operator}, {first.name}"


def _numbers(numbers: list[int], most: int = 8) -> str:
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more
