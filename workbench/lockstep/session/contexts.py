"""The limits that rules may ask for, of one drafter or of all that a run may choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from invariants.context import RunContext
from reference.drafters import drafter_of
from tracing.models import ModelPair
from tracing.run_facts import ModelFacts
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath

_SIZES: Final = ("max_tree_nodes", "max_tree_depth", "max_positions", "vocab_size")
_SHARED: Final = ("top_k", "kv_capacity", "num_slots", "eos_token_ids")


def facts_of(pair: ModelPair, path: DecodePath, settings: DecodeSettings) -> ModelFacts:
    """Return what is lawful for a model and a path that runs it."""
    return ModelFacts.of_model(pair, path.model_facts, drafter_window=settings.window)


def context_of(pair: ModelPair, path: DecodePath, settings: DecodeSettings) -> RunContext:
    """Return the limits of the requests that a path decodes."""
    return RunContext.from_settings(
        settings,
        pair,
        kv_capacity=path.info.get("kv_capacity"),
        num_slots=path.info.get("num_slots"),
        reads=drafter_of(pair).settings,
        model_facts=facts_of(pair, path, settings),
    )


def loosest(contexts: Sequence[RunContext]) -> RunContext:
    """Return limits that hold for every request: the largest tree; the number of beams where all have one."""

    def agreed(name: str) -> Any:
        values = {getattr(each, name) for each in contexts}
        return values.pop() if len(values) == 1 else None

    def largest(name: str) -> Any:
        values = [getattr(each, name) for each in contexts]
        return None if None in values else max(values)

    widest: dict[str, Any] = {name: largest(name) for name in _SIZES}
    shared: dict[str, Any] = {name: agreed(name) for name in _SHARED}
    return replace(contexts[0], **widest, **shared)
