"""What the manifest says of an SGLang engine and of each request."""

from __future__ import annotations

from typing import Any

from tracing.run_facts import RequestFacts, RequestLimits, SamplingSettings
from workbench.adapters.sglang.signatures import PROPOSERS, TREES

STOPS = {
    "FINISH_LENGTH": "length",
    "FINISH_MATCHED_STR": "stop_string",
    "FINISHED_MATCHED_REGEX": "stop_string",
}
"""Reason to end, as SGLang names its class, to the trace's word."""


def manifest_of(scheduler: Any, batch: Any) -> dict[str, Any] | None:
    """Return the facts of an engine; None in a process whose rank does not record.

    Raises:
        NotImplementedError: Several data or pipeline ranks, or an algorithm whose verification is not hooked.
    """
    import sglang
    from sglang.srt.runtime_context import get_parallel

    parallel = get_parallel()
    if parallel.pp_size > 1 or parallel.dp_size > 1:
        raise NotImplementedError(
            f"{parallel.dp_size} data and {parallel.pp_size} pipeline ranks are not recorded, only one each"
        )
    name = _algorithm(batch)
    if name not in TREES:
        raise NotImplementedError(f"{name} is not recorded, only {', '.join(TREES)}")
    if parallel.tp_rank:
        return None
    model = scheduler.model_config
    eos = model.hf_eos_token_id
    ends = {eos} if isinstance(eos, int) else set(eos or ())
    return {
        "engine": f"sglang {sglang.__version__}",
        "limits": {
            "vocab_size": int(model.vocab_size),
            "max_positions": int(model.context_len),
            "eos_token_ids": sorted(map(int, ends)),
            "num_slots": int(scheduler.max_total_num_tokens) + int(scheduler.page_size),
        },
        "models": {"teacher": str(model.model_path)},
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def proposer_of(batch: Any) -> str:
    """Return who drafts."""
    name = _algorithm(batch)
    return PROPOSERS.get(name, name.lower())


def _algorithm(batch: Any) -> str:
    return str(getattr(batch.spec_algorithm, "name", batch.spec_algorithm)).upper()


def facts_of(request: Any) -> RequestFacts:
    """Return limits and sampling settings of a request."""
    params = request.sampling_params
    top_k = int(params.top_k)
    is_greedy = top_k == 1 or params.temperature == 0
    sampling = SamplingSettings(
        temperature=0.0 if is_greedy else float(params.temperature),
        top_k=0 if is_greedy or top_k >= 1 << 30 else max(top_k, 0),
        top_p=float(params.top_p),
        min_p=float(params.min_p),
        seed=None if params.sampling_seed is None else int(params.sampling_seed),
    )
    strings = params.stop_strs or ()
    limits = RequestLimits(
        max_new_tokens=params.max_new_tokens,
        stop_token_ids=tuple(sorted(params.stop_token_ids or ())),
        stop_strings=(strings,) if isinstance(strings, str) else tuple(strings),
        ignore_eos=bool(params.ignore_eos),
    )
    return RequestFacts(limits=limits, sampling=sampling)


def stop_reason_of(request: Any) -> str | None:
    """Return why a request has ended; None while it lives, or where it was aborted."""
    reason = request.finished_reason
    if reason is None:
        return None
    name = type(reason).__name__
    if name == "FINISH_MATCHED_TOKEN":
        matched = reason.matched
        stops = request.sampling_params.stop_token_ids or ()
        return "stop_token" if matched in stops and matched not in (request.eos_token_ids or ()) else "eos"
    return STOPS.get(name)
