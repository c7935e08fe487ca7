"""Faults of what the drafter is fed and keeps: features, tokens, the rows of its cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch

from tracing.stages import Committed, Drafted, Prefilled, StageWatch, Tensorized, Verified
from workbench.faults.fault import fault
from workbench.faults.placement import Placement, Scene, after, before, on_path

ROWS: Final = ("JUDGE-DRAFT-KV", "JUDGE-ROW-MOVED")
CACHE_LENGTH: Final = ("JUDGE-DRAFT-LENGTH",)

row_fault: Final = partial(fault, stage="draft", noticed_by=ROWS)
draft_fault: Final = partial(fault, stage="draft")


@row_fault("F-DRAFTER-13", "va#9127", "speculators#806", placed=before("commit"))
def feature_row_shifted(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    """The features passed on are those of the row before."""
    tree, verified, accepted = arguments
    return tree, replace(verified, features=verified.features.roll(1, dims=0)), accepted


@row_fault("F-DRAFTER-14", "va#2794", "vllm#7508", placed=after("commit"))
def features_of_the_first_rows(made: Committed, scene: Scene) -> Committed:
    """After a rejection the features of the first rows are passed on, not those of the path."""
    verified: Verified = scene.arguments[1]
    new_rows = scene.state.memory.new_rows
    scene.state.memory.new_rows = replace(new_rows, features=verified.features[: len(new_rows.token_ids)])
    return made


@row_fault("F-DRAFTER-15", "trt#5285", "vllm#14649", placed=after("commit"))
def stale_drafter_cache(made: Committed, scene: Scene) -> Committed:
    """Only the last accepted token is fed; the drafter keeps rows made from its own features."""
    new_rows = scene.state.memory.new_rows
    scene.state.memory.new_rows = replace(
        new_rows, features=new_rows.features[-1:], token_ids=new_rows.token_ids[-1:]
    )
    return made


@row_fault("F-DRAFTER-16", "va#11337", "speculators#456", placed=after("prefill"))
def token_and_feature_unshifted(made: Prefilled, scene: Scene) -> Prefilled:
    """Feature j is paired with token j instead of token j + 1.

    The shift by one is an overlapping copy that moves nothing; the root is still put behind it.
    """
    new_rows, prompt = scene.state.memory.new_rows, scene.arguments[0]
    own = new_rows.token_ids.new_tensor(prompt[: len(prompt) - 1])
    scene.state.memory.new_rows = replace(new_rows, token_ids=torch.cat([own, new_rows.token_ids[-1:]]))
    return made


@draft_fault("F-DRAFTER-17", "vllm#39773", noticed_by=("JUDGE-DRAFT-ROOT", "STEP002"), placed=after("commit"))
def root_of_the_step_before(made: Committed, scene: Scene) -> Committed:
    """The next tree grows under the root of the step before."""
    tree: Tensorized = scene.arguments[0]
    new_rows = scene.state.memory.new_rows
    stale = new_rows.token_ids.clone()
    stale[-1] = int(tree.token_ids[0])
    scene.state.memory.new_rows = replace(new_rows, token_ids=stale)
    return made


@draft_fault("F-DRAFTER-18", "lcpp#26478", "lcpp#24541", noticed_by=CACHE_LENGTH)
def drafter_cache_too_short(made: Drafted, scene: Scene) -> Drafted:
    """The drafter's cache lacks the row of the last committed token."""
    scene.state.memory.cache.truncate(scene.state.committed_len - 1)
    return made


@draft_fault("F-DRAFTER-19", "lmdeploy#4564", "lcpp#18039", noticed_by=CACHE_LENGTH)
def drafter_cache_too_long(made: Drafted, scene: Scene) -> Drafted:
    """A drafted row stays in the drafter's cache behind the committed ones."""
    scene.state.memory.cache.truncate(scene.state.committed_len + 1)
    return made


def telling_the_watch(change: Callable[..., dict[str, Any]]) -> Placement:
    """Change what the drafter tells its watch about an expansion; the draft itself is right."""

    class Telling:
        def __init__(self, watch: StageWatch) -> None:
            self._watch = watch

        def about_to_run(self, stage: str, columns: Mapping[str, Any]) -> None:
            self._watch.about_to_run(stage, columns)

        def saw_draft_attention(self, **given: Any) -> None:
            self._watch.saw_draft_attention(**change(**given))

    return on_path(lambda path: replace(path, begin=lambda watch, *more: path.begin(Telling(watch), *more)))


@draft_fault("F-DRAFTER-20", "sgl#8409", noticed_by=("DRAFT006",), placed=telling_the_watch)
def distances_of_the_candidate_beside(flat_ids: Any, **given: Any) -> dict[str, Any]:
    """The probe numbers beams from one: each distance is that of the candidate before."""
    return {**given, "flat_ids": flat_ids + 1}
