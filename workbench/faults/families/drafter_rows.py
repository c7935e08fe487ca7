"""Faults of what the drafter is fed and keeps: features, tokens, the rows of its cache."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import torch

from tracing.stages import Committed, Drafted, Prefilled, Tensorized, Verified
from workbench.faults.fault import Fault
from workbench.faults.placement import Change, Scene, after, before


def _rolled(arguments: tuple[Any, ...], _: Scene) -> tuple[Any, ...]:
    tree, verified, accepted = arguments
    return tree, replace(verified, features=verified.features.roll(1, dims=0)), accepted


def _first_rows(made: Committed, scene: Scene) -> Committed:
    """Features of nodes 0..A instead of those of the accepted path."""
    verified: Verified = scene.arguments[1]
    new_rows = scene.state.new_rows
    scene.state.new_rows = replace(new_rows, features=verified.features[: len(new_rows.token_ids)])
    return made


def _last_row_only(made: Committed, scene: Scene) -> Committed:
    """Only the last accepted row is fed; the rows before it stay what drafting has left there."""
    new_rows = scene.state.new_rows
    scene.state.new_rows = replace(
        new_rows, features=new_rows.features[-1:], token_ids=new_rows.token_ids[-1:]
    )
    return made


def _unshifted_at_prefill(made: Prefilled, scene: Scene) -> Prefilled:
    """The shift by one is an overlapping copy that moves nothing; the root is still put behind it."""
    new_rows, prompt = scene.state.new_rows, scene.arguments[0]
    own = torch.tensor(prompt[: len(prompt) - 1], dtype=torch.int64)
    scene.state.new_rows = replace(new_rows, token_ids=torch.cat([own, new_rows.token_ids[-1:]]))
    return made


def _root_of_the_step_before(made: Committed, scene: Scene) -> Committed:
    """The root of the next draft is the root of this one."""
    tree: Tensorized = scene.arguments[0]
    new_rows = scene.state.new_rows
    stale = new_rows.token_ids.clone()
    stale[-1] = int(tree.token_ids[0])
    scene.state.new_rows = replace(new_rows, token_ids=stale)
    return made


def _cache_off_by(rows: int) -> Change:
    """The drafter's cache ends that many rows behind the last committed one."""

    def change(made: Drafted, scene: Scene) -> Drafted:
        scene.state.drafter_cache.truncate(scene.state.committed_len + rows)
        return made

    return change


ROWS: Final = ("JUDGE-DRAFT-KV", "JUDGE-ROW-MOVED")

FAULTS: Final = (
    Fault(
        id="F-DRAFTER-13",
        name="feature-row-shifted",
        about="The features handed on are those of the row before.",
        stage="draft",
        seen_in=("va#9127", "speculators#806"),
        noticed_by=ROWS,
        place=lambda: before("commit", _rolled),
    ),
    Fault(
        id="F-DRAFTER-14",
        name="features-of-the-first-rows",
        about="After a rejection the features of the first rows are handed on, not those of the path.",
        stage="draft",
        seen_in=("va#2794", "vllm#7508"),
        noticed_by=ROWS,
        place=lambda: after("commit", _first_rows),
    ),
    Fault(
        id="F-DRAFTER-15",
        name="stale-drafter-cache",
        about="Only the last accepted token is fed; the drafter keeps rows made from its own features.",
        stage="draft",
        seen_in=("trt#5285", "vllm#14649"),
        noticed_by=ROWS,
        place=lambda: after("commit", _last_row_only),
    ),
    Fault(
        id="F-DRAFTER-16",
        name="token-and-feature-unshifted",
        about="Feature j is paired with token j instead of token j + 1.",
        stage="draft",
        seen_in=("va#11337", "speculators#456"),
        noticed_by=ROWS,
        place=lambda: after("prefill", _unshifted_at_prefill),
    ),
    Fault(
        id="F-DRAFTER-17",
        name="root-of-the-step-before",
        about="The next tree grows under the root of the step before.",
        stage="draft",
        seen_in=("vllm#39773",),
        noticed_by=("JUDGE-DRAFT-ROOT", "STEP002"),
        place=lambda: after("commit", _root_of_the_step_before),
    ),
    Fault(
        id="F-DRAFTER-18",
        name="drafter-cache-too-short",
        about="The drafter's cache lacks the row of the last committed token.",
        stage="draft",
        seen_in=("lcpp#26478", "lcpp#24541"),
        noticed_by=("JUDGE-DRAFT-LENGTH",),
        place=lambda: after("draft", _cache_off_by(-1)),
    ),
    Fault(
        id="F-DRAFTER-19",
        name="drafter-cache-too-long",
        about="A drafted row stays in the drafter's cache behind the committed ones.",
        stage="draft",
        seen_in=("lmdeploy#4564", "lcpp#18039"),
        noticed_by=("JUDGE-DRAFT-LENGTH",),
        place=lambda: after("draft", _cache_off_by(1)),
    ),
)
