"""The failing stage as tensors: what it was given and gave; the same of the first wrong operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from tracing.errors import SpecwbError, UsageError
from tracing.finding import Finding
from tracing.stages import Drafted
from workbench.locate.culprit import Culprit
from workbench.locate.forwards import Forward
from workbench.locate.located import NETWORKED, Located, judged
from workbench.locate.opening import opened as opened_stage
from workbench.locate.scene import StageRerun, Subject, scene_at

NO_OPERATOR: Final = frozenset({"input", "cache", "hand-over", "search", "copy", "mask"})
"""What `locate` names where no operator computes anything."""
ARRAYS: Final = (
    *("token_ids", "parents", "depths", "valid", "position_ids", "cache_positions", "visible", "logprobs"),
)
PATH: Final = ("accepted_nodes", "final_token_id", "emitted_token_ids", "path_indices", "target_probs")
COMPUTED: Final = frozenset({"visible", "keys", "values"})
"""Inputs that follow exactly from others, where the path does not give them."""


@dataclass(slots=True)
class StageEvidence:
    """Tensors of the failing stage.

    Attributes:
        inputs, found: By name; `operator.N` are the inputs of the operator, in the order of its arguments.
        operator: Full name of its tensor, and of its inputs; None where no operator was located.
        located: What `specwb locate` says; None for a stage of which no tensor could be judged.
        missing: Why there are none, or empty.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    found: dict[str, Tensor] = field(default_factory=dict)
    operator: dict[str, Any] | None = None
    located: Located | None = None
    missing: str = ""


def evidence_of(subject: Subject, finding: Finding) -> StageEvidence:
    """Run the stage of a finding again and keep its tensors."""
    moment = finding.moment
    if not moment.stage:
        return StageEvidence(missing="the finding is about no single stage")
    try:
        scene = scene_at(subject, moment)
    except UsageError as problem:
        return StageEvidence(missing=str(problem))
    evidence = StageEvidence(_inputs(scene), _found(scene))
    if moment.stage in NETWORKED and subject.path.intermediates and not finding.rule.startswith("NPU-"):
        try:
            located = judged(subject, scene, moment)
            if located.num_judged or located.culprits:
                evidence.located = located
                _open_operator(evidence, located, scene, subject)
        except (SpecwbError, RuntimeError, ValueError) as problem:  # the stage itself is shown all the same
            evidence.operator, evidence.missing = None, f"the stage could not be opened: {problem}"
    return evidence


def _inputs(scene: StageRerun) -> dict[str, Tensor]:
    """Return what a stage was given: tokens, and the results of the stages before it."""
    results, turn = scene.results, scene.turn_state
    if scene.stage == "prefill":
        return {"prompt": _host(scene.prompt)}
    given: dict[str, Any] = {"committed": turn.committed, "root": turn.root}
    if scene.stage == "draft":
        given["features"] = turn.features
    elif scene.stage == "tensorize" and results.drafted is not None:
        given |= _fields(results.drafted, ("token_ids", "parents", "logprobs"))
    elif results.tensorized is not None:
        given |= _fields(results.tensorized, ("token_ids", "parents", "valid", "position_ids", "visible"))
    if scene.stage == "accept" and results.verified is not None:
        given |= {"target_token_ids": results.verified.target_token_ids, "remaining": turn.remaining}
        if results.accepted is not None and results.accepted.target_probs is not None:
            given["logits"] = results.verified.logits
    if scene.stage == "commit" and results.accepted is not None:
        given |= {"path_indices": results.accepted.path_indices, "cached": scene.past}

    return {name: _host(value) for name, value in given.items() if value is not None}


def _found(scene: StageRerun) -> dict[str, Tensor]:
    """Return what a stage gave, as far as it did."""
    results = scene.results
    found: dict[str, Any] = {}
    if scene.stage == "prefill" and results.prefilled is not None:
        found = {**_fields(results.prefilled, ("logits", "features")), "kv": results.prefill_kv}
        found["root"] = int(results.prefilled.context_token_ids[-1])
        found["logits"] = torch.as_tensor(results.prefilled.logits).reshape(1, -1)
    elif scene.stage == "draft" and results.drafted is not None:
        found = _drafted(results.drafted)
    elif scene.stage == "tensorize" and results.tensorized is not None:
        found = _fields(results.tensorized, ARRAYS)
    elif scene.stage == "verify" and results.verified is not None:
        rows = _fields(results.verified, ("visible", "logits", "features", "target_token_ids"))
        found = {**rows, "kv": results.node_kv, "kv_before": scene.past}
    elif scene.stage == "accept" and results.accepted is not None:
        found = _fields(results.accepted, PATH)
    elif scene.stage == "commit":
        found = {"kv": scene.left}
    return {name: _host(value) for name, value in found.items() if value is not None}


def _drafted(drafted: Drafted) -> dict[str, Any]:
    """Return a draft, and all candidates of its search where it tells them."""
    found = _fields(drafted, ("token_ids", "parents", "logprobs"))
    if drafted.levels:
        for name, own in (("token_ids", "token_ids"), ("logprobs", "scores")):
            parts = [np.asarray(getattr(level, own)).reshape(-1) for level in drafted.levels]
            found[f"candidate_{name}"] = np.concatenate(parts)
    return found


def _fields(result: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(result, name) for name in names}


def _host(value: Any) -> Tensor:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    return torch.as_tensor(value).detach().cpu().contiguous().clone()


def _open_operator(evidence: StageEvidence, located: Located, scene: StageRerun, subject: Subject) -> None:
    """Keep inputs and result of the first tensor that its operator, alone, makes otherwise."""
    forwards = opened_stage(scene, subject.runner).forwards
    for culprit in located.culprits:
        forward = next((each for each in forwards if _is_of(culprit, each)), None)
        if forward is None or culprit.operator in NO_OPERATOR:
            continue
        if not COMPUTED.issuperset(each.rpartition(".")[2] for each in culprit.between):
            continue
        needs = forward.graph[culprit.name].needs
        truth = subject.runner.truth
        made = forward.alone(truth, culprit.between) if culprit.between else {}
        held: Mapping[str, Tensor] = {**made, **forward.past(truth), **forward.inputs, **forward.own}
        if all(need in held for need in needs):
            given = {f"operator.{number}": _host(held[need]) for number, need in enumerate(needs)}
            evidence.inputs |= given
            evidence.found["operator"] = _host(forward.own[culprit.name])
            evidence.operator = {
                "name": culprit.name,
                "operator": culprit.operator,
                "inputs": list(needs),
                "place": list(culprit.extent.place),
            }
            return


def _is_of(culprit: Culprit, forward: Forward) -> bool:
    network = culprit.name.partition(".")[0]
    return (forward.network, forward.number) == (network, culprit.forward) and culprit.name in forward.own
