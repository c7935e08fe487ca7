"""Hooks of the first model runner (`vllm.v1.worker.gpu_model_runner`) and of runners that derive from it."""

from __future__ import annotations

from itertools import chain
from typing import Any, Final

import numpy as np

from workbench.adapters.vllm.copies import HostCopy, best_of, copies_of
from workbench.adapters.vllm.core import NUMBER
from workbench.adapters.vllm.launch import LaunchInputs, Logits, Proposed
from workbench.adapters.vllm.manifest import begin
from workbench.adapters.vllm.patches import argument, parameters_of, wrap
from workbench.adapters.vllm.worker import WorkerRecorder

TOP_LOGITS: Final = 8
_CURRENT: Final = "_specwb_current"
_SAMPLING: Final = "_specwb_sampling"
_PROPOSED: Final = "_specwb_proposed"


def hook_runner(kind: type, worker: WorkerRecorder) -> None:
    """Wrap the methods of a runner class."""

    def before_execute(runner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        output = argument(args, kwargs, 0, "scheduler_output")
        number = getattr(output, NUMBER, None)
        setattr(runner, _CURRENT, number)
        if number is not None and not worker.has_begun:
            begin(worker, runner)
        worker.flush(but=number)

    places = {name: at for at, name in enumerate((parameters_of(kind, "_model_forward") or ())[1:])}

    def before_forward(runner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        number = getattr(runner, _CURRENT, None)
        if number is not None:
            setattr(runner, _CURRENT, None)  # what comes before the next launch is no part of one
            worker.forward(
                number,
                forward_of(
                    runner,
                    argument(args, kwargs, places["input_ids"], "input_ids"),
                    argument(args, kwargs, places["positions"], "positions"),
                ),
            )

    def after_propose(runner: Any, _: Any, drafts: Any, *__: Any) -> None:
        setattr(runner, _PROPOSED, proposed_of(tuple(runner.input_batch.req_ids), drafts))

    wrap(kind, "execute_model", before_execute)
    wrap(kind, "_model_forward", before_forward)
    wrap(kind, "propose_draft_token_ids", after=after_propose)


def hook_sampling(kind: type, worker: WorkerRecorder) -> None:
    """Wrap the methods of a runner class that sample."""

    def before_tokens(runner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        state = runner.execute_model_state
        number = None if state is None else getattr(state.scheduler_output, NUMBER, None)
        masked = argument(args, kwargs, 0, "grammar_output") is not None
        setattr(runner, _SAMPLING, None if number is None else (number, masked))

    def before_sample(runner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sampling = getattr(runner, _SAMPLING, None)
        logits = argument(args, kwargs, 0, "logits")
        setattr(runner, _SAMPLING, None)
        if sampling is not None and logits is not None:
            drafts = argument(args, kwargs, 1, "spec_decode_metadata")
            worker.logits(sampling[0], logits_of(runner, logits, drafts, is_masked=sampling[1]))

    wrap(kind, "sample_tokens", before_tokens)
    wrap(kind, "_sample", before_sample)


def proposed_of(names: tuple[str, ...], drafts: Any) -> Proposed:
    """Return draft tokens, a tensor or lists, which the scheduler cuts in place later."""
    if not isinstance(drafts, list):
        return Proposed(names, HostCopy(drafts))
    counts = np.array([len(each) for each in drafts], dtype=np.int32)
    return Proposed(names, np.array(list(chain.from_iterable(drafts)), dtype=np.int64), counts)


def forward_of(runner: Any, input_ids: Any, positions: Any) -> LaunchInputs:
    """Return copies of what the attention of this launch is given, in the engine's forward context.

    Raises:
        NotImplementedError: The batch is split into micro-batches.
    """
    from vllm.forward_context import get_forward_context

    context = get_forward_context()
    if not isinstance(context.attn_metadata, dict):
        raise NotImplementedError("micro-batches are not recorded")
    groups = runner.kv_cache_config.kv_cache_groups
    metas = [next(context.attn_metadata[name] for name in group.layer_names if name in context.attn_metadata)
             for group in groups]  # fmt: skip
    meta = metas[0]
    num_requests = runner.input_batch.num_reqs
    starts, lengths, ids, places = copies_of(
        meta.query_start_loc, device_lengths(runner, meta, num_requests), input_ids, positions
    )
    names = ("block_table", "block_table_tensor", "block_tables")
    return LaunchInputs(
        request_ids=tuple(runner.input_batch.req_ids),
        query_starts=starts,
        kv_lens=lengths,
        kv_lens_host=host_lengths(runner, meta, num_requests),
        committed=HostCopy(runner.num_computed_tokens[:num_requests])
        if runner.use_async_scheduling
        else runner.input_batch.num_computed_tokens_cpu[:num_requests].copy(),
        token_ids=ids,
        position_ids=places,
        tables=copies_of(*(_first(each, *names) for each in metas)),
        slots=copies_of(*(each.slot_mapping for each in metas)),
        block_sizes=tuple(int(table.block_size) for table in runner.input_batch.block_table.block_tables),
        kernel=type(meta).__name__.removesuffix("Metadata"),
        is_causal=bool(getattr(meta, "causal", True)),
        num_tokens_padded=int(positions.shape[-1]),
        num_reqs_padded=num_requests,
        proposed=getattr(runner, _PROPOSED, None),
    )


def device_lengths(runner: Any, meta: Any, num_requests: int) -> Any:
    """Return the lengths on the device; an operator that reads the host's has these in its metadata too."""
    return meta.seq_lens if getattr(meta, "seq_lens_list", None) is None else runner.seq_lens[:num_requests]


def host_lengths(runner: Any, meta: Any, num_requests: int) -> Any:
    """Return the lengths that the operator reads on the host, else the host's mirror of the device's."""
    given = getattr(meta, "seq_lens_list", None)
    if given is not None:
        return np.array(given[:num_requests], dtype=np.int64)
    return runner.optimistic_seq_lens_cpu[:num_requests].numpy().copy()


def _first(meta: Any, *names: str) -> Any:
    return next(getattr(meta, name) for name in names if getattr(meta, name, None) is not None)


def logits_of(runner: Any, logits: Any, drafts: Any, *, is_masked: bool) -> Logits:
    """Return the best logits of each row and the sampling values of each request."""
    ids, values = best_of(logits, TOP_LOGITS)
    num_requests = runner.input_batch.num_reqs
    counts = [1] * num_requests if drafts is None else [1 + count for count in drafts.num_draft_tokens]
    sampling = runner.input_batch.sampling_metadata
    given = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
    there = {name: each[:num_requests] for name, each in given.items() if each is not None}
    copies = dict(zip(there, copies_of(*there.values()), strict=True)) if there else {}
    return Logits(counts, ids, values, is_masked=is_masked, **copies)
