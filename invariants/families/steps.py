"""From step to step: what one step ends with, the next one begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from invariants.ends import ends_of
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import prefilter
from invariants.rule import IntArray, NotApplicableError, Violation, Violations, invariant
from tracing.run_facts import RequestLimits


@invariant("STEP001", stage="draft")
def step_number_jumps(step: int, previous_step: int) -> Violations:
    """Steps of a turn are not numbered one after the other.

    ## What it does
    Checks `step == previous_step + 1`. The other cross-step rules wait for this one.

    ## Why it matters
    A step was lost or recorded twice, so what follows is not a continuation.

    ## Example
    Step 4 comes after step 2.

    ## Seen in
    InternLM/lmdeploy#4564 (an evicted sequence resumed with unverified tokens in its history).

    ## Limits
    Compares a step with the last one recorded of its turn; the requests of a batch may take turns. A slice
    that begins in mid-turn is fine.
    """
    if step != previous_step + 1:
        message = f"step {step} follows step {previous_step}"
        yield Violation(message, "step", found=int(step), expected=int(previous_step) + 1)


@invariant("STEP002", stage="draft", requires=("ROW001", "STEP001"))
def root_is_not_last_emitted(token_ids: IntArray, previous_final_token_id: int) -> Violations:
    """The root of a step is not the token that the step before emitted last.

    ## What it does
    Checks `token_ids[0] == previous_final_token_id`.

    ## Why it matters
    The teacher continues from another token than the user has read; the cache gets a row for it, too.

    ## Example
    A step ends with final token 9, the next root is 5.

    ## Seen in
    NVIDIA/TensorRT-LLM#5285 (the drafter was fed from the wrong accepted token), kekzl/imp#667.

    ## Limits
    A turn's first root comes from prefill and is judged by STEP005.
    """
    if token_ids[0] != previous_final_token_id:
        message = f"the root is {token_ids[0]}, the step before ended with {previous_final_token_id}"
        yield Violation(
            message, "token_ids", 0, found=int(token_ids[0]), expected=int(previous_final_token_id)
        )


@invariant("STEP003", stage="draft", requires=("STEP001",))
def committed_length_jumps(committed_len: int, previous_committed_len_after: int) -> Violations:
    """A step begins with another committed length than the step before ended with.

    ## What it does
    Checks `committed_len == previous_committed_len_after`.

    ## Why it matters
    Host and device, or two caches, count differently: positions and slots of the whole step are shifted.

    ## Example
    A step ends at 13 and the next begins at 12.

    ## Seen in
    Ascend/sglang pull request 141 and vllm-project/vllm-ascend#4521 (host lengths not advanced),
    vllm-project/vllm-ascend#8230 (rejected tokens not subtracted).

    ## Limits
    None.
    """
    if committed_len != previous_committed_len_after:
        message = (
            f"the step begins at length {committed_len}, "
            f"the one before ended at {previous_committed_len_after}"
        )
        found = int(committed_len)
        yield Violation(message, "committed_len", found=found, expected=int(previous_committed_len_after))


@invariant("STEP004", stage="draft", requires=("STEP001",))
def step_after_stop(
    previous_final_token_id: int,
    previous_stop_reason: str | None = None,
    eos_token_ids: frozenset[int] | None = None,
    request_limits: Mapping[str, RequestLimits] | None = None,
    request_id: str | None = None,
) -> Violations:
    """The turn continues after a step that ended it.

    ## What it does
    Looks at the step before: a stop reason, or a token that ends the request as its final one.

    ## Why it matters
    Everything from here on is unwanted text, and it is committed to the cache of the next turn.

    ## Example
    Step 6 has `stop_reason = "eos"`, and there is a step 7.

    ## Seen in
    microsoft/onnxruntime-genai#2491 (an accepted end token reset the stop state), LostRuins/koboldcpp#1276.

    ## Limits
    Without a stop reason it needs to know the end-of-sequence tokens.
    """
    ends = ends_of(eos_token_ids, request_limits, request_id)
    if previous_stop_reason is not None:
        message = f"the turn continues after it stopped ({previous_stop_reason})"
        yield Violation(message, "step", found=previous_stop_reason)
    elif ends.eos is None:
        raise NotApplicableError("no stop reason, and the end-of-sequence tokens are not known")
    elif previous_final_token_id in ends.all:
        message = f"the turn continues after token {previous_final_token_id}, which ends it"
        yield Violation(message, "step", found=int(previous_final_token_id))


@invariant("STEP005", stage="prefill", requires=("ROW001",))
def first_step_is_not_the_prompts(
    context_token_ids: IntArray, token_ids: IntArray, committed_len: int
) -> Violations:
    """A turn's first step does not begin where its prompt ends.

    ## What it does
    Checks that the committed length is that of the context without the first root, and that the root is the
    context's last token.

    ## Why it matters
    The first root is emitted by prefill; counted into the prefix it is cached twice, left out it is lost, and
    all positions of the turn are shifted by one.

    ## Example
    The context has 11 tokens and L is 11.

    ## Seen in
    vllm-project/vllm-ascend#6835 (a prompt of exactly K + 1 tokens taken for a decode),
    sgl-project/sglang#26329 (tail of the prefill dropped).

    ## Limits
    Only steps that record `context_token_ids`, the first of each turn.
    """
    if not len(context_token_ids):
        yield Violation("the context is empty, it has at least the first root", "context_token_ids", found=0)
        return
    expected = len(context_token_ids) - 1
    if committed_len != expected:
        message = (
            f"the committed length is {committed_len}, the context holds {expected} tokens before the root"
        )
        yield Violation(message, "committed_len", found=int(committed_len), expected=expected)
    if token_ids[0] != context_token_ids[-1]:
        message = f"the root is {token_ids[0]}, the context ends with {context_token_ids[-1]}"
        root, last = int(token_ids[0]), int(context_token_ids[-1])
        yield Violation(message, "token_ids", 0, found=root, expected=last, stage="draft")


CLAUSES: Final = (
    prefilter("STEP001")(lambda step, previous_step: step != previous_step + 1),
    prefilter("STEP002")(
        lambda token_ids, previous_final_token_id: token_ids[:, 0] != previous_final_token_id
    ),
    prefilter("STEP003")(
        lambda committed_len, previous_committed_len_after: committed_len != previous_committed_len_after
    ),
    prefilter("STEP004")(lambda previous_stop_reason: previous_stop_reason is not None),
    prefilter("STEP004")(
        lambda previous_final_token_id, eos_token_ids: np.isin(previous_final_token_id, sorted(eos_token_ids))
    ),
    prefilter("STEP005")(
        lambda context_token_ids, committed_len: committed_len != context_token_ids.lengths - 1
    ),
    prefilter("STEP005")(
        lambda context_token_ids, token_ids: context_token_ids.last(NO_TOKEN) != token_ids[:, 0]
    ),
)


NO_TOKEN: Final = -(2**40)
"""Stands for the last token of an empty context; no column of token ids can hold it."""


def _goes_on_after_eos(case: Case, _: Pick) -> Case:
    root = int(case.row["token_ids"][0])
    if root in case.row["emitted_token_ids"] or case.row["stop_reason"] == "eos":
        raise NoPlaceError("this step would end the turn, too")
    return case.after(stop_reason=None).in_run(eos_token_ids=frozenset({root}))


def _with_context(case: Case, *last: int) -> Case:
    """Return the case with other tokens at the end of its context, as distances from the root."""
    context = case.row["context_token_ids"]
    if context is None:
        raise NoPlaceError("not a first step")
    return case.edited(context_token_ids=np.append(context[:-1], context[-1] + np.array(last, np.int32)))


MUTATIONS: Final[Changes] = {
    "STEP001 step-lost": lambda case, _: case.edited(step=case.earlier["step"] + 2),
    "STEP002 other-root": lambda case, _: case.later.poked("token_ids", 0, case.other_token(-1)),
    "STEP003 length-not-carried": lambda case, _: case.after(
        committed_len_after=case.earlier["committed_len_after"] - 1
    ),
    "STEP004 goes-on-after-stop": lambda case, pick: case.after(stop_reason=pick(["eos", "length"])),
    "STEP004 goes-on-after-eos": _goes_on_after_eos,
    "STEP005 prompt-longer-than-prefix": lambda case, _: _with_context(case, 0, 0),
    "STEP005 first-root-differs": lambda case, _: _with_context(case, 1),
}
