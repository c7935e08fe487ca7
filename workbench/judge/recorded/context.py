"""The limits of a run as its manifest gives them; what is not given stays unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from invariants.context import RunContext
from tracing.errors import TraceError
from tracing.manifest_facts import read_facts, table
from tracing.reader import Run
from tracing.run_facts import request_facts_of

FROM_SETTINGS: Final = {
    "max_new_tokens": "max_new_tokens",
    "max_tree_nodes": "tree_nodes",
    "top_k": "top_k",
    "asked_commit_mode": "commit_mode",
    "acceptance": "acceptance",
}
"""Field of `RunContext` to the setting that it is."""
LEAST: Final = {
    **dict.fromkeys(("vocab_size", "max_new_tokens", "max_positions", "kv_capacity", "num_slots"), 1),
    **dict.fromkeys(("block_size", "max_tree_nodes", "top_k"), 1),
    **dict.fromkeys(("null_block", "max_tree_depth"), 0),
}
"""Number of `RunContext` to the least that it can be."""


def read_context(manifest: Mapping[str, Any]) -> RunContext:
    """Return the facts that rules may ask for.

    They come from `limits` (names of `RunContext`), then `settings`, then the models' load report; what is
    lawful for the model from `model_facts`, its null block included where `limits` has none.

    Args:
        manifest: As `tracing.reader.Run.manifest` gives it; may be empty.

    Raises:
        TraceError: A fact is there and is not of its kind, or is no size.
    """
    limits = {**table(manifest, "limits"), **_of_requests(manifest)}
    lawful = manifest.get("model_facts")
    if manifest.get("lockstep"):  # a run of two paths: all that is lawful is known, and stops are recorded
        limits["model_facts"] = lawful or {}
    else:
        limits["model_facts"] = lawful
        limits.setdefault("records_stop_reason", not manifest)
    facts = {**_of_models(manifest), **_of_settings(table(manifest, "settings")), **limits}
    given = {name: value for name, value in facts.items() if value is not None}
    context = read_facts(RunContext, given, "limits").with_null_block()
    for name, least in LEAST.items():
        value = getattr(context, name)
        if value is not None and not least <= value < 1 << 40:
            raise TraceError(f"limits of the manifest: {name} should be from {least} on, got {_short(value)}")
    return context


def _short(value: int) -> str:
    return str(value) if abs(value) < 1 << 64 else f"an integer of {value.bit_length()} bits"


def context_of_path(run: Run, name: str) -> RunContext:
    """Return the facts that rules may ask for at the steps of one path.

    Raises:
        TraceError: A fact is there and is not of its kind.
    """
    context = read_context(run.manifest)
    return context if context.records_stop_reason else replace(context, records_stop_reason=_stops(run, name))


def _stops(run: Run, name: str) -> bool:
    """Whether a step of the path gives a stop reason, so that the engine has some to give."""
    path = run.path(name)
    try:
        return any(batch["stop_reason"].null_count < len(batch) for batch in path.batches(["stop_reason"]))
    except TraceError:
        return False  # the damage is reported by whoever reads the rows


def _of_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: settings.get(setting) for name, setting in FROM_SETTINGS.items()}
    if isinstance(settings.get("depth"), int):
        facts["max_tree_depth"] = settings["depth"] + 1
    if settings.get("kv_layout") == "paged":
        facts["block_size"] = settings.get("block_size")
    return facts


def _of_requests(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return rotary offsets of requests that have their own, how requests choose and where they end."""
    requests = table(manifest, "requests")
    every = {name: facts for name in requests if (facts := request_facts_of(manifest, name)) is not None}
    offsets = {name: each.rotary_offset for name, each in every.items() if each.rotary_offset is not None}
    of_requests: dict[str, Any] = {"request_offsets": offsets}
    for part in ("sampling", "limits"):
        stated = [name for name, raw in requests.items() if isinstance(raw, Mapping) and raw.get(part)]
        of_requests[f"request_{part}"] = {name: asdict(getattr(every[name], part)) for name in stated}
    return {name: values for name, values in of_requests.items() if values}


def _of_models(manifest: Mapping[str, Any]) -> dict[str, Any]:
    report = table(table(manifest, "models"), "load_report")
    return {"eos_token_ids": report.get("eos_token_ids")}
