"""Hooks of the scheduler: what a launch was planned to do, and how it ended for each request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracing.run_facts import RequestFacts, RequestLimits, SamplingSettings
from workbench.adapters.vllm.core import NUMBER, CoreRecorder
from workbench.adapters.vllm.ended import Blocks, EndedLaunch, OpenLaunch, PlannedLaunch
from workbench.adapters.vllm.part import end_others
from workbench.adapters.vllm.patches import argument, wrap
from workbench.adapters.vllm.settings import RecorderSettings


def hook_scheduler(kind: type, core: CoreRecorder) -> None:
    """Wrap the methods of a scheduler class."""

    def after_schedule(scheduler: Any, _: Any, output: Any, __: Any, ___: Any) -> None:
        if output.num_scheduled_tokens:
            if not core.has_begun:
                config = scheduler.vllm_config
                core.begin(
                    dp_rank=int(config.parallel_config.data_parallel_rank),
                    num_workers=int(config.parallel_config.world_size),
                    vocab_size=int(config.model_config.get_vocab_size()),
                )
            for request_id in output.num_scheduled_tokens:
                if not core.knows(request_id):
                    request = scheduler.requests[request_id]
                    params = request.sampling_params
                    core.admit(request_id, facts_of(request), is_plain=params is None or is_plain(params))
            core.scheduled(output, plan_of(scheduler, output))

    def before_preempt(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        request = argument(args, kwargs, 0, "request")
        core.preempted(request.request_id, int(request.num_preemptions))

    def before_update(scheduler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = argument(args, kwargs, 0, "scheduler_output")
        result = argument(args, kwargs, 1, "model_runner_output")
        launch = core.open_launch(getattr(output, NUMBER, None))
        return None if launch is None else seen_before(launch, scheduler.requests, result)

    def after_update(
        scheduler: Any, seen: Any, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if seen is not None:
            number = getattr(argument(args, kwargs, 0, "scheduler_output"), NUMBER)
            is_exact = not scheduler.vllm_config.scheduler_config.async_scheduling
            core.ended(number, end_of(seen, result, is_exact=is_exact))

    wrap(kind, "schedule", after=after_schedule)
    wrap(kind, "_preempt_request", before=before_preempt)
    wrap(kind, "update_from_output", before=before_update, after=after_update)


def hook_engine(kind: type, core: CoreRecorder) -> None:
    """Let the core's file end before the engine does: its parent waits some seconds, then kills it."""

    def before_shutdown(*_: Any) -> None:
        core.close()

    wrap(kind, "shutdown", before=before_shutdown)


def hook_front_end(kind: type, settings: RecorderSettings) -> None:
    """Let the files of all processes end before a front end that does not wait for requests kills them."""

    def before_shutdown(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not argument(args, kwargs, 0, "timeout"):
            end_others(settings)

    wrap(kind, "shutdown", before=before_shutdown)


def plan_of(scheduler: Any, output: Any) -> PlannedLaunch:
    """Return what a scheduler output plans for its requests."""
    names = list(output.num_scheduled_tokens)
    requests = [scheduler.requests[name] for name in names]
    blocks: dict[str, Blocks] = {
        new.req_id: (_groups(new.block_ids), True, int(new.num_computed_tokens))
        for new in output.scheduled_new_reqs
    }
    cached = output.scheduled_cached_reqs
    for row, ids in enumerate(cached.new_block_ids):
        if ids is not None or cached.req_ids[row] in cached.resumed_req_ids:
            name = cached.req_ids[row]
            is_whole = name in cached.resumed_req_ids
            computed = int(cached.num_computed_tokens[row]) if is_whole else None
            blocks[name] = (_groups(ids), is_whole, computed)
    drafts = output.scheduled_spec_decode_tokens
    return PlannedLaunch(
        names,
        [request.num_preemptions for request in requests],
        [request.is_prefill_chunk for request in requests],
        [len(drafts.get(name, ())) for name in names] if drafts else [0] * len(names),
        blocks,
    )


def _groups(ids: Any) -> Any:
    return None if ids is None else tuple(list(group) for group in ids)


@dataclass(frozen=True, slots=True)
class SeenBefore:
    """Requests of a launch and their results, before the scheduler cuts them at a stop.

    Attributes:
        names: `[R]`.
        alive: Each request, or None where it has ended, `[R]`.
        sampled: Tokens that the engine committed, `[R]` lists of them.
        contexts: Token ids before a request's first step, by row.
    """

    names: Sequence[str]
    alive: list[Any]
    sampled: list[list[int]]
    contexts: dict[int, list[int]]


def seen_before(launch: OpenLaunch, requests: Mapping[str, Any], runner_output: Any) -> SeenBefore:
    """Return the requests of a launch as they are when its results come."""
    names, places = launch.plan.names, runner_output.req_id_to_index
    found = [requests.get(name) for name in names]
    alive = [None if each is None or each.is_finished() else each for each in found]
    given = runner_output.sampled_token_ids
    rows = [places.get(name) for name in names] if given else []
    sampled = [[] if row is None else list(given[row]) for row in rows] or [[] for _ in names]
    first = [(row, alive[row]) for row in launch.first_steps()]
    contexts = {row: list(request.all_token_ids) for row, request in first if request is not None}
    return SeenBefore(names, alive, sampled, contexts)


def end_of(seen: SeenBefore, result: Any, *, is_exact: bool) -> EndedLaunch:
    """Return how a launch ended for its requests.

    Args:
        seen: Requests before the scheduler took the results in.
        result: What it returned.
        is_exact: Its counts are those of this launch; with launches in flight they run ahead.
    """
    outputs = {each.request_id: each for group in result.values() for each in group.outputs}
    given = [outputs.get(name) for name in seen.names]
    return EndedLaunch(
        withdrawn=[request is None for request in seen.alive],
        sampled=[
            () if request is None else tokens
            for request, tokens in zip(seen.alive, seen.sampled, strict=True)
        ],
        emitted=[() if each is None else list(each.new_token_ids) for each in given],
        committed=[0 if request is None else request.num_computed_tokens for request in seen.alive]
        if is_exact
        else None,
        contexts=seen.contexts,
        stops={
            row: stop_reason_of(each)
            for row, each in enumerate(given)
            if each is not None and each.finish_reason is not None and seen.alive[row] is not None
        },
    )


def stop_reason_of(output: Any) -> str:
    """Return why a request ended, in the words of the trace; the engine's own word for other reasons."""
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
