"""The limits of a run as its manifest gives them; what is not given stays unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from invariants.context import RunContext
from tracing.errors import TraceError
from tracing.run_facts import read_facts, table

FROM_SETTINGS: Final = {
    "max_new_tokens": "max_new_tokens",
    "max_tree_nodes": "tree_nodes",
    "top_k": "top_k",
    "asked_commit_mode": "commit_mode",
    "acceptance": "acceptance",
}
"""Field of `RunContext` to the setting that it is."""
MAY_BE_ZERO: Final = ("null_block", "max_tree_depth")
"""Fields of `RunContext` that are no sizes."""


def read_context(manifest: Mapping[str, Any]) -> RunContext:
    """Return the facts that rules may ask for.

    They come from `limits` (names of `RunContext`), then `settings`, then the models' load report.

    Args:
        manifest: As `tracing.reader.Run.manifest` gives it; may be empty.

    Raises:
        TraceError: A fact is there and is not of its kind, or is no size.
    """
    limits = table(manifest, "limits")
    facts = {**_of_models(manifest), **_of_settings(table(manifest, "settings")), **limits}
    given = {name: value for name, value in facts.items() if value is not None}
    context = read_facts(RunContext, given, "limits")
    for name, value in asdict(context).items():
        least = 0 if name in MAY_BE_ZERO else 1
        if type(value) is int and not least <= value < 1 << 40:
            raise TraceError(f"limits of the manifest: {name} should be from {least} on, got {_short(value)}")
    return context


def _short(value: int) -> str:
    return str(value) if abs(value) < 1 << 64 else f"an integer of {value.bit_length()} bits"


def _of_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: settings.get(setting) for name, setting in FROM_SETTINGS.items()}
    if isinstance(settings.get("depth"), int):
        facts["max_tree_depth"] = settings["depth"] + 1
    if settings.get("kv_layout") == "paged":
        facts["block_size"] = settings.get("block_size")
    return facts


def _of_models(manifest: Mapping[str, Any]) -> dict[str, Any]:
    report = table(table(manifest, "models"), "load_report")
    return {"eos_token_ids": report.get("eos_token_ids")}
