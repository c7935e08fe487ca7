"""What a stage hands on against what its networks gave: results, cache rows, scores of a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference.search import first_flat_id
from workbench.locate.culprit import Culprit, TensorRows, culprit_of, is_wrong
from workbench.locate.forwards import Forward
from workbench.locate.opening import true_past
from workbench.locate.scene import StageRerun
from workbench.lockstep.tensors.host import host_floats
from workbench.lockstep.truth.reference_runner import ReferenceRunner

CACHE = "cache"
SEARCH = "search"


def handed_over(
    scene: StageRerun, forwards: Sequence[Forward], runner: ReferenceRunner, dtype: str
) -> Iterator[Culprit]:
    """Yield what left a stage otherwise than its networks gave it."""
    if scene.stage == "draft":
        yield from _scores(scene, forwards, runner, dtype)
        return
    if len(forwards) != 1:
        return
    forward, results = forwards[0], scene.results
    given = results.verified if scene.stage == "verify" else results.prefilled
    if given is None:
        return
    kv = results.node_kv if scene.stage == "verify" else results.prefill_kv
    handed: dict[str, Any] = {"teacher.features": given.features, "teacher.logits": given.logits}
    if kv is not None and not runner.model_facts.cache_dtype:
        for layer, site in enumerate(forward.sites):
            for side, name in enumerate(("key", "value")):
                handed[f"{site}.{name}"] = kv[layer, side].transpose(0, 1)
    for name, tensor in handed.items():
        if name not in forward.own or tensor is None or not tensor.numel():
            continue
        is_cache = name.endswith((".key", ".value"))
        rows = _against_own(forward, name, torch.as_tensor(tensor))
        if is_wrong(rows.measured(dtype)).any():
            operator = CACHE if is_cache else "hand-over"
            yield culprit_of(rows, dtype, operator=operator, forward=forward.number, counted=forward.rows)


def _against_own(forward: Forward, name: str, handed: Tensor) -> TensorRows:
    """Return what was handed on beside what was computed; of the longer side the last rows."""
    own = forward.own[name]
    handed = handed.reshape(-1, *own.shape[1:])
    count = min(len(handed), len(own))
    judged = np.ones(forward.num_rows, np.bool_) if forward.judged is None else forward.judged
    judged = judged[-count:]
    numbers = (np.arange(forward.num_rows, dtype=np.int64) + forward.first_row)[-count:][judged]
    made = host_floats(own)[-count:][judged]
    return TensorRows(name, host_floats(handed)[-count:][judged], made, (made,), numbers)


def cache_before(
    scene: StageRerun, forwards: Sequence[Forward], runner: ReferenceRunner, dtype: str
) -> Iterator[Culprit]:
    """Yield cache rows that were wrong before the stage began."""
    if scene.past is None or not forwards or not forwards[0].num_past:
        return
    forward = forwards[0]
    shown = forward.past(runner.truth)
    truth = true_past(scene, runner, runner.truth, forward.num_past)
    drawn: Sequence[Any] = runner.models[1:]
    samples: list[dict[str, Tensor]] = []
    waiting = [name for name in shown if name in truth]
    found: dict[str, TensorRows] = {}
    while waiting and drawn:
        samples += [true_past(scene, runner, each, forward.num_past) for each in drawn]
        numbers = np.arange(forward.num_past, dtype=np.int64)
        found = {
            name: TensorRows(
                name.replace(".past_", "."),
                host_floats(shown[name]),
                host_floats(truth[name]),
                tuple(host_floats(each[name]) for each in samples),
                numbers,
            )
            for name in waiting
        }
        waiting = [name for name in waiting if is_wrong(found[name].measured(dtype)).any()]
        drawn = runner.more(len(samples))
    for name in waiting:
        yield culprit_of(found[name], dtype, operator=CACHE, forward=-1, counted="position")


def _scores(
    scene: StageRerun, forwards: Sequence[Forward], runner: ReferenceRunner, dtype: str
) -> Iterator[Culprit]:
    """Scores of a beam search against the logits that it was made of."""
    drafted = scene.results.drafted
    search = None if drafted is None else drafted.beam_search()
    if search is None:
        return
    draft_from_target = np.full(runner.truth.teacher.vocab_size, -1, np.int64)
    draft_from_target[runner.target_from_draft] = np.arange(len(runner.target_from_draft))
    before: NDArray[Any] = np.zeros(1)
    for forward, level in zip(forwards, search.levels, strict=False):
        logits = forward.own.get("drafter.logits")
        ids = draft_from_target[np.asarray(level.token_ids)]
        if logits is None or len(logits) < len(ids) or (ids < 0).any():
            return
        if forward.number:
            flat = np.asarray(level.beam_flat_ids) - _first(search.levels, forward.number - 1)
            before = search.levels[forward.number - 1].scores.ravel()[flat].astype(np.float64)
        truth, sample = (
            before[:, None] + np.take_along_axis(_logprobs(logits[-len(ids) :], wide), ids, axis=1)
            for wide in (torch.float64, torch.float32)
        )
        own = np.asarray(level.scores, np.float64)
        numbers = np.arange(len(own), dtype=np.int64)
        rows = TensorRows("drafter.logits", own, truth, (sample,), numbers)
        if is_wrong(rows.measured(dtype)).any():
            yield culprit_of(rows, dtype, operator=SEARCH, forward=forward.number, counted="beam")


def _logprobs(logits: Tensor, dtype: torch.dtype) -> NDArray[Any]:
    logprobs: NDArray[Any] = torch.log_softmax(logits.to(dtype), dim=-1).double().numpy()
    return logprobs


def _first(levels: Sequence[Any], number: int) -> int:
    return first_flat_id(number, levels[number].token_ids.shape[1])
