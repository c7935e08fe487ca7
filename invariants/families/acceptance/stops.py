"""Where a turn ends: at the end-of-sequence token, at the token limit, and never after."""

from __future__ import annotations

from typing import Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import Flags, prefilter
from invariants.rule import IntArray, NotApplicableError, Violation, Violations, invariant, listed
from tracing.settings import STOP_REASONS


@invariant("ACC006", stage="accept")
def token_after_eos(emitted_token_ids: IntArray, eos_token_ids: frozenset[int]) -> Violations:
    """An end-of-sequence token is emitted, and more tokens after it.

    ## What it does
    Looks for an end-of-sequence token before the last place of `emitted_token_ids`.

    ## Why it matters
    The user reads text past the end, and counters of tokens and of acceptance are too high.

    ## Example
    Token 2 ends a turn, and `emitted_token_ids = [5, 2, 9]`.

    ## Seen in
    LostRuins/koboldcpp#1276 (end token inside an accepted run), vllm-project/vllm#56101 (counted past the
    end).

    ## Limits
    Stop words of more than one token are not known here.
    """
    if not eos_token_ids:
        raise NotApplicableError("the model has no end-of-sequence token")
    for place, token in enumerate(emitted_token_ids.tolist()[:-1]):
        if token in eos_token_ids:
            after = emitted_token_ids.tolist()[place + 1 :]
            message = f"token {token} ends the turn, but {listed(after)} are emitted after it"
            yield Violation(message, "emitted_token_ids", found=listed(after), expected="")
            return


@invariant("ACC007", stage="accept")
def stop_reason_disagrees(
    final_token_id: int,
    eos_token_ids: frozenset[int],
    stop_reason: str | None = None,
    records_stop_reason: bool = True,
) -> Violations:
    """A final end-of-sequence token does not stop the turn, or the stop reason is another than it says.

    ## What it does
    Checks that a final end-of-sequence token comes with a stop reason, that `eos` comes with such a token,
    and that the reason is `eos`, `length`, `stop_token` or `stop_string`.

    ## Why it matters
    Decoding runs on past its end until the token limit, or ends in the middle of a sentence.

    ## Example
    The final token is 2, the end-of-sequence token, and `stop_reason` is null.

    ## Seen in
    openvino.genai#3293 (a draft's end token finished the sequence), InternLM/lmdeploy#4520 (end token and
    stop word cancel each other).

    ## Limits
    Stop tokens and stop strings of a request are the engine's own word; any final token may come with them.
    An engine that records no stop reason in a whole run may have none to give: its absence is not checked.
    """
    ends = final_token_id in eos_token_ids
    if stop_reason is None and not ends:
        return
    if stop_reason is None and not records_stop_reason:
        raise NotApplicableError("no step of the run records a stop reason")
    if stop_reason is None:
        message = f"the final token {final_token_id} ends the turn, but no stop reason is recorded"
        yield Violation(message, "stop_reason", found="", expected="eos")
    elif stop_reason == "eos" and not ends:
        message = f"the step stopped at eos, but its final token {final_token_id} is none"
        yield Violation(message, "stop_reason", found="eos", expected="")
    elif stop_reason not in STOP_REASONS:
        message = f"stop reason {stop_reason!r} is not one of {', '.join(STOP_REASONS)}"
        yield Violation(message, "stop_reason", found=stop_reason)


@invariant("ACC008", stage="accept")
def token_limit_overrun(
    emitted_token_ids: IntArray, committed_len: int, first_committed_len: int, max_new_tokens: int
) -> Violations:
    """The turn has emitted more tokens than it may.

    ## What it does
    Counts the tokens of the turn so far: the first root, one per committed row since, and this step's;
    compares with `max_new_tokens`.

    ## Why it matters
    Speculation emits several tokens at once, so a limit that is only tested between steps is overrun by up to
    a tree's depth: too much text, and rows past the end of a cache sized for the limit.

    ## Example
    The limit is 128, 126 tokens are out, and the step emits 4.

    ## Seen in
    huggingface/transformers#46993 and #47195 (cap compared with the wrong index), SafeAILab/EAGLE#75,
    vllm-project/vllm-ascend#4090.

    ## Limits
    Needs the turn's first step, to know where the prompt ended.
    """
    emitted_before = committed_len - first_committed_len + 1
    total = emitted_before + len(emitted_token_ids)
    if total > max_new_tokens:
        message = (
            f"the turn has emitted {total} tokens, {emitted_before} before this step; it may {max_new_tokens}"
        )
        yield Violation(message, "emitted_token_ids", found=total, expected=max_new_tokens)


CLAUSES: Final = (
    prefilter("ACC007")(
        lambda final_token_id, eos_token_ids, stop_reason=None: (
            np.isin(final_token_id, sorted(eos_token_ids)) & (stop_reason is None)
        )
    ),
    prefilter("ACC007")(
        lambda final_token_id, eos_token_ids, stop_reason: (
            (stop_reason == "eos") & ~np.isin(final_token_id, sorted(eos_token_ids))
        )
    ),
    prefilter("ACC007")(lambda stop_reason: ~np.isin(stop_reason.astype(str), STOP_REASONS)),
    prefilter("ACC008")(
        lambda emitted_token_ids, committed_len, first_committed_len, max_new_tokens: (
            committed_len - first_committed_len + 1 + emitted_token_ids.lengths > max_new_tokens
        )
    ),
)


@prefilter("ACC006")
def _end_inside(emitted_token_ids: Ragged, eos_token_ids: frozenset[int]) -> Flags:
    is_last = emitted_token_ids.place == emitted_token_ids.lengths[emitted_token_ids.owner] - 1
    ends = np.isin(emitted_token_ids.values, sorted(eos_token_ids))
    return emitted_token_ids.any_step(ends & ~is_last)


def _eos_inside(case: Case, pick: Pick) -> Case:
    place = pick(range(len(case.accepted)))
    node, eos = case.accepted[place], min(case.context.eos_token_ids or {2})
    if any(case.row["token_ids"][case.drafts] == eos):
        raise NoPlaceError("the tree has such a token already")
    case = case.poked("token_ids", node, eos).poked("emitted_token_ids", place, eos)
    return case.chose(case.row["parents"][node], eos)


MUTATIONS: Final[Changes] = {
    "ACC006 eos-inside": _eos_inside,
    "ACC007 eos-ignored": lambda case, _: case.where(
        case.row["stop_reason"] == "eos"
        and case.row["final_token_id"] not in case.row["token_ids"][case.drafts],
        "no end-of-sequence token at the end",
    ).edited(stop_reason=None),
    "ACC007 stopped-for-no-reason": lambda case, _: case.uncut.edited(stop_reason="eos"),
    "ACC008 limit-overrun": lambda case, _: case.in_run(
        max_new_tokens=case.row["committed_len_after"] - case.before.prompt_len
    ),
    "ACC007 stop-reason-unknown": lambda case, _: case.edited(stop_reason="because"),
}
