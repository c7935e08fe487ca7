"""From a finding to the operator: the stage runs again with its tensors open, and each is judged alone."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tracing.finding import Finding
from tracing.moment import Moment
from workbench.locate.capture import leaves_layer, site_of
from workbench.locate.culprit import Culprit
from workbench.locate.handed_over import cache_before, handed_over
from workbench.locate.opening import opened
from workbench.locate.scene import StageRerun, Subject, scene_at
from workbench.locate.walk import Growth, walk

NETWORKED = ("prefill", "draft", "verify")
"""Stages that run a network."""


@dataclass(frozen=True, slots=True)
class Located:
    """What is wrong in a stage.

    Attributes:
        moment: Of the finding.
        culprits: Tensors that their own inputs do not give, in order of the data flow; empty where none was.
        growth: How errors grow from layer to layer.
        num_judged: Tensors that were judged.
        unopened: What could not be opened, and why.
        conclusion: One sentence, where there is no culprit.
    """

    moment: Moment
    culprits: tuple[Culprit, ...] = ()
    growth: tuple[Growth, ...] = ()
    num_judged: int = 0
    unopened: tuple[str, ...] = ()
    conclusion: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "moment": str(self.moment),
            "culprits": [culprit.as_json() for culprit in self.culprits],
            "growth": [
                {
                    "name": each.name,
                    "forward": each.forward,
                    "alone": each.alone,
                    "accumulated": each.accumulated,
                }
                for each in self.growth
            ],
            "num_judged": self.num_judged,
            "unopened": list(self.unopened),
            "conclusion": self.conclusion,
        }


def locate(subject: Subject, finding: Finding) -> Located:
    """Walk from the stage of a finding to the tensors in it that are wrong.

    Raises:
        UsageError: The path does not come to that moment again.
    """
    moment = finding.moment
    if moment.stage not in NETWORKED:
        stage = moment.stage or "what was found"
        return Located(moment, conclusion=f"{stage} runs no network: the finding itself says what is wrong")
    if subject.path.intermediates is None:
        return Located(
            moment,
            conclusion=f"{subject.path.name} gives no tensors of its networks: declare "
            "`intermediates`, for torch modules by tracing.module_hooks.hooked",
        )
    if finding.rule.startswith("NPU-"):
        operator = finding.message.partition(":")[0]
        conclusion = f"a call broke the contract of its operator and was refused: {operator}"
        return Located(moment, conclusion=conclusion)
    return in_pieces(subject, moment)


def in_pieces(subject: Subject, moment: Moment) -> Located:
    """Judge the tensors of a stage: all at once, or, where they are too many to keep, in layers.

    Then what leaves each layer is judged on what enters it, and the layers that are wrong are opened. Where
    none is wrong as a whole, all are opened, as many at once as can be kept.
    """
    scene = scene_at(subject, moment)
    located, closed = judged(subject, scene, moment), sorted(scene.capture.left_out)
    if not closed:
        return located
    suspects = [site for site in closed if any(site_of(each.name) == site for each in located.culprits)]
    culprits: list[Culprit] = [each for each in located.culprits if site_of(each.name) not in suspects]
    num_judged, unopened, waiting = located.num_judged, list(located.unopened), suspects or closed
    at_once = max(1, len(waiting))
    while waiting:
        some = frozenset(waiting[:at_once])
        roomy = subject if at_once > 1 else replace(subject, most_bytes=sys.maxsize)  # one layer is opened
        scene = scene_at(roomy, moment, partial(_is_inside, some))
        if scene.capture.left_out and at_once > 1:
            at_once //= 2
            continue
        opened_now = judged(subject, scene, moment)
        culprits += [each for each in opened_now.culprits if site_of(each.name) in some]
        unopened += [each for each in opened_now.unopened if each not in unopened]
        num_judged, waiting = num_judged + opened_now.num_judged, waiting[at_once:]
    if suspects:
        unopened.append(
            f"{len(closed) - len(suspects)} layers as a whole only: each is right on what enters it"
        )
    found = replace(located, culprits=tuple(culprits), num_judged=num_judged, unopened=tuple(unopened))
    return replace(found, conclusion="") if culprits else _without(found)


def _is_inside(sites: frozenset[str], name: str) -> bool:
    """Whether a tensor is wanted when these layers are opened."""
    return leaves_layer(name) or site_of(name) in sites


def judged(subject: Subject, scene: StageRerun, moment: Moment) -> Located:
    """Judge the tensors of a stage that ran again."""
    runner, dtype = subject.runner, subject.dtype
    stage = opened(scene, runner)
    culprits = list(cache_before(scene, stage.forwards, runner, dtype))
    growth: list[Growth] = []
    unopened, num_judged = list(stage.unopened), 0
    for forward in stage.forwards:
        walked = walk(forward, runner, dtype)
        culprits += walked.culprits
        growth += walked.growth
        unopened += walked.unopened
        num_judged += walked.num_judged
    culprits += handed_over(scene, stage.forwards, runner, dtype)
    unopened += [f"the stage did not finish: {each.message}" for each in scene.failed]
    located = Located(moment, tuple(culprits), tuple(growth), num_judged, tuple(unopened))
    return located if culprits else _without(located)


def _without(located: Located) -> Located:
    """Say what is known where no tensor is wrong on its own inputs."""
    far = next((each for each in located.growth if each.accumulated > 1), None)
    if far is not None:
        conclusion = (
            f"no tensor is beyond what rounding allows on its own inputs; errors add up, and at {far.name} "
            f"they are {far.accumulated:.3g} times what is allowed"
        )
    elif located.num_judged:
        tensors = f"all {located.num_judged} tensors that the path gave are right"
        conclusion = f"{tensors}: what the stage makes of them is not"
    else:
        conclusion = "no tensor could be judged"
    return replace(located, conclusion=conclusion)
