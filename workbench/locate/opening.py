"""The forwards of a stage: what each has to be given follows from the values that the stage was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from reference.intermediates import drafter_graph, teacher_graph
from reference.model import ReferenceModels
from reference.search import first_flat_id
from reference.visible import narrower, near
from tracing.models import DrafterConfig, MedusaConfig
from tracing.stages import BoolArray, DraftLevel, IntArray
from workbench.locate.capture import Given
from workbench.locate.forwards import Forward, Past, fitted, no_rows, past_rows, sites_of
from workbench.locate.scene import StageRerun
from workbench.lockstep.truth.reference_runner import ReferenceRunner

_TREE: Final = "drafter.tree"
"""Not a tensor of the graph: which drafted rows each beam descends from, `[B, rows so far]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the rows of a forward are, and what they are given."""

    rows: str
    inputs: Mapping[str, Tensor]
    past: Past
    first_row: int = 0
    num_past: int = 0
    judged: BoolArray | None = None


@dataclass(slots=True)
class Opened:
    """A stage as far as it could be opened.

    Attributes:
        forwards: In order.
        unopened: What could not be, and why.
    """

    forwards: list[Forward] = field(default_factory=list)
    unopened: list[str] = field(default_factory=list)


def opened(scene: StageRerun, runner: ReferenceRunner) -> Opened:
    """Return the forwards of a stage that has a network."""
    network = "drafter" if scene.stage == "draft" else "teacher"
    found = Opened()
    given = scene.capture.forwards.get(network, [])
    build = drafter_graph if network == "drafter" else teacher_graph
    if not build(runner.truth):
        found.unopened.append(f"the {network} has no network that is known here")
        return found
    if not given:
        found.unopened.append(f"the path gave no tensor of its {network}")
    follow = {"prefill": _prefilled, "verify": _verified, "draft": _drafted}[scene.stage]
    for number, each in enumerate(given):
        place = follow(scene, runner, each, found.forwards)
        if isinstance(place, str):
            found.unopened.append(f"forward {number} of the {network}: {place}")
            return found
        bare = Forward(
            network=network,
            number=number,
            graph=build(runner.truth),
            build=build,
            sites=sites_of(runner.truth, network),
            own={},
            inputs=place.inputs,
            past=place.past,
            rows=place.rows,
            first_row=place.first_row,
            num_past=place.num_past,
            judged=place.judged,
        )
        found.forwards.append(_forward(runner.truth, bare, each))
    seen = sum(forward.num_rows for forward in found.forwards)
    if scene.stage == "prefill" and 0 < seen < len(scene.prompt):
        found.unopened.append(f"{seen} of {len(scene.prompt)} rows of the context were told")
    for name, why in scene.capture.refused.items():
        found.unopened.append(f"{name}: {why}")
    return found


def _forward(models: ReferenceModels, bare: Forward, given: Given) -> Forward:
    """Return a forward with what the path gave of it."""
    inputs = bare.inputs
    if "drafter.hidden_in" in given and "drafter.features" not in inputs:
        hidden = given["drafter.hidden_in"].reshape(-1, models.drafter.hidden_size)
        inputs = {"drafter.hidden_in": hidden, **inputs}
    own, misshapen = fitted(given, {**inputs, **bare.whole(models, inputs)})
    return replace(bare, own=own, misshapen=misshapen)


def _prefilled(
    scene: StageRerun, runner: ReferenceRunner, given: Given, before: Sequence[Forward]
) -> _Place | str:
    """A context, whole or in pieces behind each other."""
    prompt, offset = scene.prompt, runner.model_facts.rotary_offset
    start = 0 if not before else before[-1].num_past + len(before[-1].inputs["teacher.token_ids"])
    rows = _num_rows(given, "teacher", runner.truth.teacher.hidden_size)
    stop = len(prompt) if rows is None else start + rows
    if not start < stop <= len(prompt):
        return f"it has {stop - start} rows, where {len(prompt) - start} of the context are left"
    inputs = {
        "teacher.token_ids": torch.tensor(prompt[start:stop]),
        "teacher.position_ids": torch.arange(start, stop) + offset,
        "teacher.visible": torch.ones(stop - start, stop, dtype=torch.bool).tril(start),
        "teacher.past_positions": torch.arange(start) + offset,
    }
    past = _past_of(before, runner.truth, "teacher")
    return _Place(rows="position", inputs=inputs, past=past, first_row=start, num_past=start)


def _verified(
    scene: StageRerun, runner: ReferenceRunner, given: Given, before: Sequence[Forward]
) -> _Place | str:
    """The nodes of a tree behind the committed rows."""
    tree, num_past = scene.results.tensorized, scene.results.committed_len
    rows = _num_rows(given, "teacher", runner.truth.teacher.hidden_size)
    if tree is None:
        return "the step has no tree"
    if before or rows not in (None, len(tree.token_ids)):
        return f"verify did not run {len(tree.token_ids)} rows in one forward"
    visible = np.concatenate([np.repeat(tree.valid[:, None], num_past, axis=1), tree.visible], axis=1)
    inputs = {
        "teacher.token_ids": torch.from_numpy(tree.token_ids.astype(np.int64)),
        "teacher.position_ids": torch.from_numpy(tree.position_ids.astype(np.int64)),
        "teacher.visible": torch.from_numpy(visible),
        "teacher.past_positions": torch.arange(num_past) + runner.model_facts.rotary_offset,
    }
    return _Place(
        rows="node", inputs=inputs, past=_shown_past(scene, runner), num_past=num_past, judged=tree.valid
    )


def _drafted(
    scene: StageRerun, runner: ReferenceRunner, given: Given, before: Sequence[Forward]
) -> _Place | str:
    """The committed rows, then a row per beam, level by level."""
    config: Any = runner.truth.drafter
    features = scene.turn_state.features
    if isinstance(config, MedusaConfig):
        fed = {"drafter.features": features[-1:]}
        return _Place(rows="row", inputs=fed, past=lambda _: {}) if not before else "the heads ran again"
    sequence = [*scene.turn_state.committed, scene.turn_state.root]
    sequence = sequence[1:] if isinstance(config, DrafterConfig) else sequence
    total, offset = len(sequence), runner.model_facts.rotary_offset
    if before:
        return _level(scene, runner, given, before)
    rows = _num_rows(given, "drafter", config.hidden_size) or total - _shown_rows(scene)
    start = total - rows
    if not 0 <= start < total:
        return f"it has {rows} rows, where {total} tokens are committed"
    visible = torch.ones(rows, total, dtype=torch.bool).tril(start)
    positions = torch.arange(total)
    inputs = {
        "drafter.token_ids": torch.tensor(sequence[start:]),
        "drafter.position_ids": positions[start:] + offset,
        "drafter.visible": visible & near(positions[start:], positions, _window(runner)),
        "drafter.past_positions": positions[:start] + offset,
    }
    if isinstance(config, DrafterConfig):
        inputs["drafter.features"] = features[start:]
    past = _shown_past(scene, runner, start)
    return _Place(rows="position", inputs=inputs, past=past, first_row=start, num_past=start)


def _level(
    scene: StageRerun, runner: ReferenceRunner, given: Given, before: Sequence[Forward]
) -> _Place | str:
    """One row per beam of a level, behind those of the levels before."""
    drafted, number, first = scene.results.drafted, len(before), before[0]
    total = first.num_past + first.num_rows
    search = None if drafted is None else drafted.beam_search()
    if search is None or number >= len(search.levels):
        return "the draft shows no beams for it"
    beams = _beams(search.levels, number)
    if beams is None:
        return "its beams are no candidates of the level before"
    parents, tokens = beams
    told = given.get("drafter.token_ids")
    if (
        told is not None
        and told.tolist() != tokens.tolist()
        and sorted(told.tolist()) == sorted(tokens.tolist())
    ):
        return "its beams run in another order than the draft shows"
    last, itself = before[-1], torch.eye(len(tokens), dtype=torch.bool)
    tree = (
        itself if number == 1 else torch.cat([last.inputs[_TREE][torch.from_numpy(parents)], itself], dim=1)
    )
    depths = [torch.full((each.num_rows,), level) for level, each in enumerate(before[1:])]
    keys = torch.cat([torch.arange(total), *(total + each for each in depths)])
    positions = torch.full((len(tokens),), total + number - 1)
    visible = torch.cat([torch.ones(len(tokens), total, dtype=torch.bool), tree], dim=1)
    offset = runner.model_facts.rotary_offset
    inputs = {
        "drafter.token_ids": torch.from_numpy(tokens),
        "drafter.position_ids": positions + offset,
        "drafter.visible": visible & near(positions, torch.cat([keys, positions]), _window(runner)),
        "drafter.past_positions": keys + offset,
        _TREE: tree,
    }
    handed = last.own.get("drafter.hidden_out")
    if handed is not None and len(handed) > parents.max():
        inputs["drafter.hidden_in"] = (handed[-1:] if number == 1 else handed)[torch.from_numpy(parents)]
    past = _past_of(before, runner.truth, "drafter")
    return _Place(rows="beam", inputs=inputs, past=past, num_past=len(keys))


def _beams(levels: Sequence[DraftLevel], number: int) -> tuple[IntArray, IntArray] | None:
    """Return which beam of the level before each beam extends, and by which token."""
    before = levels[number - 1].token_ids
    places = np.asarray(levels[number].beam_flat_ids, np.int64) - first_flat_id(number - 1, before.shape[1])
    if len(places) == 0 or places.min() < 0 or places.max() >= before.size:
        return None
    return places // before.shape[1], before.ravel()[places].astype(np.int64)


def _window(runner: ReferenceRunner) -> int:
    """Return the window of an EAGLE-3 drafter; a draft model's layers have their own."""
    config = runner.truth.drafter
    return narrower(runner.settings.window, config.window) if isinstance(config, DrafterConfig) else 0


def _num_rows(given: Given, network: str, width: int) -> int | None:
    """Return R of a forward, None where nothing tells it; `width` is that of its embedding."""
    tokens, embedding = given.get(f"{network}.token_ids"), given.get(f"{network}.embedding")
    if tokens is not None:
        return tokens.numel()
    return None if embedding is None or embedding.numel() % width else embedding.numel() // width


def _past_of(before: Sequence[Forward], models: ReferenceModels, network: str) -> Past:
    """Return the rows of the forwards before; none in front of the first."""
    return before[-1].behind if before else lambda _: no_rows(models, network)


def _shown_rows(scene: StageRerun) -> int:
    return 0 if scene.past is None else int(scene.past.shape[3])


def _shown_past(scene: StageRerun, runner: ReferenceRunner, num_rows: int | None = None) -> Past:
    """Return the path's own cache rows where it shows them, else those that each model computes."""
    network = "drafter" if scene.stage == "draft" else "teacher"
    sites = sites_of(runner.truth, network)
    wanted = scene.results.committed_len if num_rows is None else num_rows
    if not wanted:
        return lambda _: no_rows(runner.truth, network)
    if _shown_rows(scene) >= wanted:
        rows = past_rows(sites, scene.past[..., :wanted, :].cpu())
        return lambda _: rows
    return lambda models: true_past(scene, runner, models, wanted)


def true_past(
    scene: StageRerun, runner: ReferenceRunner, models: ReferenceModels, num_rows: int
) -> dict[str, Tensor]:
    """Return the cache rows in front of a stage as a model computes them; none where it cannot."""
    turn_state = scene.turn_state
    if scene.stage == "verify":
        kv: Tensor | None = runner.prefill(turn_state.committed, [models])[0].kv
        return {} if kv is None else past_rows(sites_of(models, "teacher"), kv[..., :num_rows, :])
    drafted = scene.results.drafted
    search = None if drafted is None else drafted.beam_search()
    if search is None:
        return {}
    truth = runner.draft(*turn_state.fed, search.levels, [models])
    return past_rows(sites_of(models, "drafter"), truth[0].committed_kv[..., :num_rows, :]) if truth else {}
