"""The limits of a run as its manifest gives them; what is not given stays unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from invariants.context import RunContext
from tracing.errors import TraceError

FROM_SETTINGS: Final = {
    "max_new_tokens": "max_new_tokens",
    "max_tree_nodes": "tree_nodes",
    "top_k": "top_k",
    "asked_commit_mode": "commit_mode",
    "acceptance": "acceptance",
}
"""Field of `RunContext` to the setting that it is."""
_TEXT: Final = ("asked_commit_mode", "acceptance")
_TOKENS: Final = ("eos_token_ids",)


def read_context(manifest: Mapping[str, Any]) -> RunContext:
    """Return the facts that rules may ask for.

    They come from `limits` (names of `RunContext`), then `settings`, then the models' load report.

    Args:
        manifest: As `tracing.reader.Run.manifest` gives it; may be empty.

    Raises:
        TraceError: A fact is there and is not of its kind.
    """
    limits = table(manifest, "limits")
    known = {field.name for field in fields(RunContext)}
    unknown = sorted(set(limits) - known)
    if unknown:
        raise TraceError(f"limits of the manifest should name {', '.join(sorted(known))}, got {unknown[0]!r}")
    facts = {**_of_models(manifest), **_of_settings(table(manifest, "settings")), **limits}
    return RunContext(**{name: _checked(name, value) for name, value in facts.items() if value is not None})


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


def table(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a part of a manifest that should be a table; empty where it is not there.

    Raises:
        TraceError: It is something else.
    """
    value = mapping.get(key) or {}
    if not isinstance(value, Mapping):
        raise TraceError(f"{key} of the manifest should be a table, got {str(value)[:40]!r}")
    return value


def _checked(name: str, value: Any) -> Any:
    if name in _TOKENS:
        if isinstance(value, list) and all(type(token) is int for token in value):
            return frozenset(value)
        raise TraceError(f"{name} of the manifest should be a list of token ids, got {str(value)[:40]!r}")
    expected = str if name in _TEXT else int
    if type(value) is not expected:
        kind = "text" if expected is str else "a whole number"
        raise TraceError(f"{name} of the manifest should be {kind}, got {str(value)[:40]!r}")
    return value
