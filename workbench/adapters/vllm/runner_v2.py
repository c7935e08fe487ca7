"""Hooks of the second model runner (`vllm.v1.worker.gpu.model_runner`): nearly all is in its `InputBatch`."""

from __future__ import annotations

from typing import Any, Final

from workbench.adapters.vllm.copies import best_of, copies_of
from workbench.adapters.vllm.core import NUMBER
from workbench.adapters.vllm.launch import LaunchInputs, Logits
from workbench.adapters.vllm.manifest import begin
from workbench.adapters.vllm.patches import argument, wrap
from workbench.adapters.vllm.runner_v1 import TOP_LOGITS
from workbench.adapters.vllm.worker import WorkerRecorder

_CURRENT: Final = "_specwb_current"
_BATCHES: Final = "_specwb_batches"


def hook_runner(kind: type, worker: WorkerRecorder) -> None:
    """Wrap the methods of a runner class."""

    def before_execute(runner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        output = argument(args, kwargs, 0, "scheduler_output")
        number = None if argument(args, kwargs, 2, "dummy_run") else getattr(output, NUMBER, None)
        setattr(runner, _CURRENT, number)
        if number is not None and not worker.has_begun:
            begin(worker, runner)
        worker.flush(but=number)

    def after_execute(runner: Any, *_: Any) -> None:
        setattr(runner, _CURRENT, None)

    def after_attention(runner: Any, _: Any, result: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        number = getattr(runner, _CURRENT, None)
        if number is not None:
            batch = argument(args, kwargs, 0, "input_batch")
            open_batches = runner.__dict__.setdefault(_BATCHES, {})
            open_batches[id(batch)] = (batch, number)
            worker.forward(number, forward_of(runner, batch, *result))

    def before_sample(runner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        batch = argument(args, kwargs, 1, "input_batch")
        _, number = runner.__dict__.get(_BATCHES, {}).pop(id(batch), (None, None))
        if number is not None:
            batch.specwb_launch = number
            batch.specwb_is_masked = argument(args, kwargs, 2, "grammar_output") is not None

    wrap(kind, "execute_model", before_execute, after_execute)
    wrap(kind, "prepare_attn", after=after_attention)
    wrap(kind, "sample", before_sample)


def hook_sampler(kind: type, worker: WorkerRecorder) -> None:
    """Wrap a sampler class, whose call gets `(logits, input_batch, ...)` after the grammar's mask."""

    def before_call(sampler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        logits, batch = argument(args, kwargs, 0, "logits"), argument(args, kwargs, 1, "input_batch")
        number = getattr(batch, NUMBER, None)
        if number is not None:
            worker.logits(number, logits_of(getattr(sampler, "sampler", sampler), logits, batch))

    wrap(kind, "__call__", before_call)


def forward_of(runner: Any, batch: Any, tables: Any, slots: Any) -> LaunchInputs:
    """Return copies of what the attention of this launch is given; the next launch overwrites its views."""
    computed = runner.req_states.num_computed_tokens.gpu[batch.idx_mapping]
    starts, lengths, committed, ids, places = copies_of(
        batch.query_start_loc, batch.seq_lens, computed, batch.input_ids, batch.positions
    )
    return LaunchInputs(
        request_ids=tuple(batch.req_ids),
        query_starts=starts,
        kv_lens=lengths,
        kv_lens_host=batch.seq_lens_cpu_upper_bound.numpy().copy(),
        committed=committed,
        token_ids=ids,
        position_ids=places,
        tables=copies_of(*tables),
        slots=copies_of(*slots),
        block_sizes=tuple(int(size) for size in runner.block_tables.block_sizes),
        kernel="InputBatch",
        num_tokens_padded=int(batch.num_tokens_after_padding),
        num_reqs_padded=int(batch.num_reqs_after_padding),
    )


def logits_of(sampler: Any, logits: Any, batch: Any) -> Logits:
    """Return the best logits of each row and the sampling values of each request."""
    import numpy as np

    ids, values = best_of(logits, TOP_LOGITS)
    states = sampler.sampling_states
    names = ("temperature", "top_k", "top_p")
    given = {name: getattr(states, name).gpu[batch.idx_mapping] for name in names}
    given["top_k"] = given["top_k"] % logits.shape[-1]  # all of the vocabulary: no top-k
    return Logits(
        np.diff(batch.cu_num_logits_np),
        ids,
        values,
        is_masked=bool(batch.specwb_is_masked),
        **dict(zip(given, copies_of(*given.values()), strict=True)),
    )
