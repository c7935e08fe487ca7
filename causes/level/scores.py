"""Mistakes of the level port in draft scores; each name says what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from causes.level.port import mistake
from causes.mistake import bend

mistake.add("scores", "scores-not-cumulative", "beam_scores", lambda _, scores: scores * 0)
mistake.add("scores", "scores-added-twice", "beam_scores", lambda _, scores: scores * 2)
mistake.add("scores", "scores-of-the-neighbouring-beam", "beam_scores", lambda _, scores: scores.roll(1))


@mistake("scores")
def temperature_two(port: Any) -> None:
    def warmer(right: Any, last: Tensor) -> Any:
        return (port.linear(last, port.drafter, "lm_head").float() / 2).log_softmax(-1)

    bend(port, "draft_logprobs", warmer)


@mistake("scores")
def temperature_nine_tenths(port: Any) -> None:
    def colder(right: Any, last: Tensor) -> Any:
        return (port.linear(last, port.drafter, "lm_head").float() / 0.9).log_softmax(-1)

    bend(port, "draft_logprobs", colder)


@mistake("scores")
def logits_as_scores(port: Any) -> None:
    port.draft_logprobs = lambda last: port.linear(last, port.drafter, "lm_head").float()


@mistake("scores")
def normalised_over_the_batch(port: Any) -> None:
    port.draft_logprobs = lambda last: port.linear(last, port.drafter, "lm_head").float().log_softmax(0)


@mistake("scores")
def final_norm_left_out(port: Any) -> None:
    scale = port.drafter["norm.weight"]

    def plain(right: Any, x: Tensor, weight: Tensor, eps: float) -> Any:
        return x if weight is scale else right(x, weight, eps)

    bend(port, "norm", plain)


@mistake("scores")
def norm_weight_of_the_teacher(port: Any) -> None:
    port.drafter = {**port.drafter, "norm.weight": port.teacher["model.norm.weight"] * 1.5}


@mistake.bends("scores", "selected")
def nodes_scores_not_copied(right: Any, *given: Any) -> Any:
    made = right(*given)
    return replace(made, logprobs=np.append(made.logprobs[:-1], made.logprobs[-2] * 1.5).astype(np.float32))
