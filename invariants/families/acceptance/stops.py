"""Where a turn ends: at the end-of-sequence token, at the token limit, and never after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from invariants.batch.flat import Ragged
from invariants.ends import ends_of, last_emitted
from invariants.mutation import Case, Changes, NoPlaceError, Pick
from invariants.prefilter import Flags, prefilter
from invariants.rule import IntArray, NotApplicableError, Violation, Violations, invariant, listed
from tracing.run_facts import RequestLimits
from tracing.settings import STOP_REASONS


@invariant("ACC006", stage="accept")
def token_after_eos(
    emitted_token_ids: IntArray,
    eos_token_ids: frozenset[int] | None = None,
    request_limits: Mapping[str, RequestLimits] | None = None,
    request_id: str | None = None,
) -> Violations:
    """A token that ends the turn is emitted, and more tokens after it.

    ## What it does
    Looks for an end-of-sequence token, or a stop token of the request (`requests` in the manifest), before
    the last place of `emitted_token_ids`.

    ## Why it matters
    The user reads text past the end, and counters of tokens and of acceptance are too high.

    ## Example
    Token 2 ends a turn, and `emitted_token_ids = [5, 2, 9]`.

    ## Seen in
    LostRuins/koboldcpp#1276 (end token inside an accepted run), vllm-project/vllm#56101 (counted past the
    end).

    ## Limits
    Stop strings are not known here. A request with a minimum of tokens is left alone.
    """
    ends = ends_of(eos_token_ids, request_limits, request_id)
    if not ends.all:
        raise NotApplicableError("no token is known to end the request")
    for place, token in enumerate(emitted_token_ids.tolist()[:-1]):
        if token in ends.all:
            after = emitted_token_ids.tolist()[place + 1 :]
            message = f"token {token} ends the turn, but {listed(after)} are emitted after it"
            yield Violation(message, "emitted_token_ids", found=listed(after), expected="none")
            return


@invariant("ACC007", stage="accept")
def stop_reason_disagrees(
    *,
    final_token_id: int,
    eos_token_ids: frozenset[int],
    stop_reason: str | None = None,
    records_stop_reason: bool = True,
    emitted_token_ids: IntArray | None = None,
    discarded_token_ids: IntArray | None = None,
    request_limits: Mapping[str, RequestLimits] | None = None,
    request_id: str | None = None,
) -> Violations:
    """A token that ends the turn does not stop it, or the stop reason is another than it says.

    ## What it does
    Checks that an end-of-sequence token, or a stop token of the request, as the last one that is emitted
    comes with a stop reason; that `eos` comes with such a token and `stop_token` with one of the request's;
    and that the reason is `eos`, `length`, `stop_token` or `stop_string`. Where a tail was thrown away
    (`discarded_token_ids`), the last token is the last one that the user got.

    ## Why it matters
    Decoding runs on past its end until the token limit, or ends in the middle of a sentence.

    ## Example
    The final token is 2, the end-of-sequence token, and `stop_reason` is null.

    ## Seen in
    openvino.genai#3293 (a draft's end token finished the sequence), InternLM/lmdeploy#4520 (end token and
    stop word cancel each other).

    ## Limits
    Where a request's stop tokens are not in the manifest, any final token may come with `stop_token`; with
    `stop_string` it always may. A request with a minimum of tokens is left alone. An engine that records no
    stop reason in a whole run may have none to give: its absence is not checked.
    """
    ends = ends_of(eos_token_ids, request_limits, request_id)
    last = last_emitted(final_token_id, emitted_token_ids, discarded_token_ids)
    if stop_reason is None and last not in ends.all:
        return
    if stop_reason is None and not records_stop_reason:
        raise NotApplicableError("no step of the run records a stop reason")
    if stop_reason is None:
        message = f"the final token {last} ends the turn, but no stop reason is recorded"
        expected = "eos" if last in (ends.eos or ()) else "stop_token"
        yield Violation(message, "stop_reason", found="", expected=expected)
    elif stop_reason == "eos" and last not in eos_token_ids:
        message = f"the step stopped at eos, but its final token {last} is none"
        yield Violation(message, "stop_reason", found="eos", expected="none")
    elif stop_reason == "stop_token" and ends.stop_tokens and last not in ends.all | eos_token_ids:
        message = f"the step stopped at a stop token, but its final token {last} is none of the request's"
        yield Violation(message, "stop_reason", found="stop_token", expected="none")
    elif stop_reason not in STOP_REASONS:
        message = f"stop reason {stop_reason!r} is not one of {', '.join(STOP_REASONS)}"
        yield Violation(message, "stop_reason", found=stop_reason)


@invariant("ACC008", stage="accept")
def token_limit_overrun(
    *,
    emitted_token_ids: IntArray,
    committed_len: int,
    first_committed_len: int,
    max_new_tokens: int | None = None,
    request_limits: Mapping[str, RequestLimits] | None = None,
    request_id: str | None = None,
) -> Violations:
    """The turn has emitted more tokens than it may.

    ## What it does
    Counts the tokens of the turn so far: the first root, one per committed row since, and this step's;
    compares with `max_new_tokens` of the request, else of the run, and, prompt included, with the request's
    `max_model_len`.

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
    limits = ends_of(None, request_limits, request_id).limits
    most = limits.max_new_tokens if limits and limits.max_new_tokens else max_new_tokens
    if limits and limits.max_model_len:
        room = limits.max_model_len - first_committed_len
        most = room if most is None else min(most, room)
    if most is None:
        raise NotApplicableError("how much the request may emit is not known")
    emitted_before = committed_len - first_committed_len + 1
    total = emitted_before + len(emitted_token_ids)
    if total > most:
        message = f"the turn has emitted {total} tokens, {emitted_before} before this step; it may {most}"
        yield Violation(message, "emitted_token_ids", found=total, expected=most)


CLAUSES: Final = (
    prefilter("ACC006", "ACC007", "ACC008", "STEP004")(lambda request_limits: len(request_limits) > 0),
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


def _limited(case: Case, **limits: Any) -> Case:
    """Return the case as a request of its own limits among others."""
    others = {"": RequestLimits(max_new_tokens=10_000), "r": RequestLimits(**limits)}
    return case.edited(request_id="r").in_run(request_limits=others)


def _stop_token_inside(case: Case, pick: Pick) -> Case:
    token = int(case.row["emitted_token_ids"][pick(range(len(case.accepted)))])
    if token in (case.row["emitted_token_ids"][-1], case.row["token_ids"][0]):
        raise NoPlaceError("the token comes again")
    return _limited(case, stop_token_ids=(token,))


def _stop_token_ignored(case: Case, _: Pick) -> Case:
    emitted = case.uncut.row["emitted_token_ids"].tolist()
    if emitted[-1] in (*emitted[:-1], case.row["token_ids"][0]):
        raise NoPlaceError("the last token came before")
    return _limited(case, stop_token_ids=(emitted[-1],))


def _tail_without_reason(case: Case, _: Pick) -> Case:
    """The user's last token is a stop token, the tail is thrown away, and the reason is missing."""
    emitted = case.uncut.where(len(case.accepted), "nothing accepted").row["emitted_token_ids"]
    if emitted[-2] in (*emitted[:-2], case.row["token_ids"][0]):
        raise NoPlaceError("the stop token came before")
    cut = case.edited(emitted_token_ids=emitted[:-1], discarded_token_ids=emitted[-1:], emitted_logprobs=None)
    return cut.in_run(eos_token_ids=frozenset({int(emitted[-2])}))


MUTATIONS: Final[Changes] = {
    "ACC006 stop-token-inside": _stop_token_inside,
    "ACC007 stop-token-ignored": _stop_token_ignored,
    "ACC007 stopped-at-no-stop-token": lambda case, _: _limited(
        case.uncut, stop_token_ids=(case.other_token(-1),)
    ).edited(stop_reason="stop_token"),
    "ACC007 tail-discarded-without-reason": _tail_without_reason,
    "ACC008 limit-of-the-request-overrun": lambda case, _: _limited(
        case, max_new_tokens=case.row["committed_len_after"] - case.before.prompt_len
    ),
    "ACC008 model-length-overrun": lambda case, _: _limited(
        case, max_model_len=case.row["committed_len_after"]
    ),
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
