"""Hooks of the scheduler: what a launch was planned to do, and how it ended for each request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracing.run_facts import RequestFacts, RequestLimits, SamplingSettings
from workbench.adapters.vllm.core import NUMBER, CoreRecorder
from workbench.adapters.vllm.launch import Planned, RequestEnd
from workbench.adapters.vllm.patches import argument, wrap


def hook_scheduler(kind: type, core: CoreRecorder) -> None:
    """Wrap the methods of a scheduler class."""

    def after_schedule(scheduler: Any, _: Any, output: Any, __: Any, ___: Any) -> None:
        if output.num_scheduled_tokens:
            config = scheduler.vllm_config
            core.begin(
                dp_rank=int(config.parallel_config.data_parallel_rank),
                num_workers=int(config.parallel_config.world_size),
                vocab_size=int(config.model_config.get_vocab_size()),
            )
            for request_id in output.num_scheduled_tokens:
                request = scheduler.requests[request_id]
                if not core.knows(request_id):
                    params = request.sampling_params
                    core.admit(request_id, facts_of(request), is_plain=params is None or is_plain(params))
            core.scheduled(output, plans_of(scheduler, output, core))

    def before_preempt(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        request = argument(args, kwargs, 0, "request")
        core.preempted(request.request_id, int(request.num_preemptions))

    def before_update(scheduler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = argument(args, kwargs, 0, "scheduler_output")
        result = argument(args, kwargs, 1, "model_runner_output")
        number = getattr(output, NUMBER, -1)
        return {
            each: _before(
                scheduler.requests.get(each), sampled_of(result, each), core.is_first_step(number, each)
            )
            for each in output.num_scheduled_tokens
            if core.knows(each) and core.live(each).is_recorded
        }

    def after_update(
        scheduler: Any, seen: Any, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        number = getattr(argument(args, kwargs, 0, "scheduler_output"), NUMBER, None)
        if number is not None and seen is not None:
            is_exact = not scheduler.vllm_config.scheduler_config.async_scheduling
            core.ended(number, ends_of(seen, result, is_exact=is_exact))

    wrap(kind, "schedule", after=after_schedule)
    wrap(kind, "_preempt_request", before=before_preempt)
    wrap(kind, "update_from_output", before=before_update, after=after_update)


def hook_engine(kind: type, core: CoreRecorder) -> None:
    """Let the core's file end before the engine does: its parent waits some seconds, then kills it."""

    def before_shutdown(*_: Any) -> None:
        core.close()

    wrap(kind, "shutdown", before=before_shutdown)


def plans_of(scheduler: Any, output: Any, core: CoreRecorder) -> dict[str, Planned]:
    """Return what a scheduler output plans for each of its requests."""
    blocks: dict[str, tuple[Any, bool, int]] = {
        new.req_id: (new.block_ids, True, int(new.num_computed_tokens)) for new in output.scheduled_new_reqs
    }
    cached = output.scheduled_cached_reqs
    columns = zip(cached.req_ids, cached.new_block_ids, cached.num_computed_tokens, strict=True)
    for request_id, new_blocks, computed in columns:
        blocks[request_id] = (new_blocks, request_id in cached.resumed_req_ids, int(computed))
    plans = {}
    for request_id in output.num_scheduled_tokens:
        request = scheduler.requests[request_id]
        ids, is_whole, computed = blocks.get(request_id, (None, False, 0))
        plans[request_id] = Planned(
            epoch=int(request.num_preemptions),
            is_chunk=bool(request.is_prefill_chunk),
            is_decode=core.live(request_id).has_root,
            num_drafts=len(output.scheduled_spec_decode_tokens.get(request_id, ())),
            blocks=None if ids is None else tuple(list(group) for group in ids),
            is_whole=is_whole,
            num_cached=computed if is_whole else None,
        )
    return plans


@dataclass(frozen=True, slots=True)
class _Before:
    """A live request and its results, before the scheduler cuts them at a stop."""

    request: Any
    sampled: tuple[int, ...]
    context: tuple[int, ...]


def sampled_of(runner_output: Any, request_id: str) -> tuple[int, ...]:
    """Return the tokens that the engine committed for a request."""
    row = runner_output.req_id_to_index.get(request_id)
    if row is None or not runner_output.sampled_token_ids:
        return ()
    return tuple(int(token) for token in runner_output.sampled_token_ids[row])


def _before(request: Any, sampled: tuple[int, ...], is_first: bool) -> _Before | None:
    if request is None or request.is_finished():
        return None
    return _Before(request, sampled, tuple(request.all_token_ids) if is_first else ())


def ends_of(seen: dict[str, _Before | None], result: Any, *, is_exact: bool) -> dict[str, RequestEnd]:
    """Return how a launch ended for each request that still lived.

    Args:
        seen: Requests before the scheduler took the results in.
        result: What it returned.
        is_exact: Its counts are those of this launch; with launches in flight they run ahead.
    """
    outputs = {each.request_id: each for group in result.values() for each in group.outputs}
    ends = {}
    for request_id, before in seen.items():
        if before is None:
            continue
        given = outputs.get(request_id)
        ends[request_id] = RequestEnd(
            sampled=before.sampled,
            emitted=() if given is None else tuple(int(token) for token in given.new_token_ids),
            stop_reason=stop_reason_of(given),
            committed_after=int(before.request.num_computed_tokens) if is_exact else None,
            context=before.context,
        )
    return ends


def stop_reason_of(output: Any) -> str | None:
    """Return why a request ended, in the words of the trace; the engine's own word for other reasons."""
    if output is None or output.finish_reason is None:
        return None
    word = str(output.finish_reason)
    if word != "stop":
        return word
    return "eos" if output.stop_reason is None else "stop_token"


def facts_of(request: Any) -> RequestFacts:
    """Return the limits and sampling settings of a request."""
    params = request.sampling_params
    limits = RequestLimits(max_new_tokens=int(request.max_tokens) or None)
    if params is None:
        return RequestFacts(limits=limits)
    limits = RequestLimits(
        max_new_tokens=int(request.max_tokens),
        stop_token_ids=tuple(params.stop_token_ids or ()),
        stop_strings=tuple(params.stop or ()),
        ignore_eos=bool(params.ignore_eos),
    )
    return RequestFacts(
        limits=limits,
        sampling=SamplingSettings(
            temperature=float(params.temperature),
            top_k=max(int(params.top_k), 0),
            top_p=float(params.top_p),
            min_p=float(params.min_p),
            seed=params.seed,
            acceptance="greedy" if params.temperature == 0 else "rejection",
        ),
    )


def is_plain(params: Any) -> bool:
    """Return whether nothing but temperature changes a request's logits."""
    return (
        params.repetition_penalty == 1
        and not params.presence_penalty
        and not params.frequency_penalty
        and not params.min_tokens
        and not params.bad_words
        and not params.logit_bias
        and params.allowed_token_ids is None
        and getattr(params, "structured_outputs", None) is None
    )
