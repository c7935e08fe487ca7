"""The limits of a run as its manifest gives them; what is not given stays unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from invariants.context import RunContext
from tracing.run_facts import read_facts, table

FROM_SETTINGS: Final = {
    "max_new_tokens": "max_new_tokens",
    "max_tree_nodes": "tree_nodes",
    "top_k": "top_k",
    "asked_commit_mode": "commit_mode",
    "acceptance": "acceptance",
}
"""Field of `RunContext` to the setting that it is."""


def read_context(manifest: Mapping[str, Any]) -> RunContext:
    """Return the facts that rules may ask for.

    They come from `limits` (names of `RunContext`), then `settings`, then the models' load report; what is
    lawful for the model from `model_facts`.

    Args:
        manifest: As `tracing.reader.Run.manifest` gives it; may be empty.

    Raises:
        TraceError: A fact is there and is not of its kind.
    """
    limits = {**table(manifest, "limits"), "model_facts": manifest.get("model_facts")}
    facts = {**_of_models(manifest), **_of_settings(table(manifest, "settings")), **limits}
    given = {name: value for name, value in facts.items() if value is not None}
    return read_facts(RunContext, given, "limits")


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
