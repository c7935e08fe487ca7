"""Ports that misbehave: ours, with one member replaced. `specwb diff --fused` finds `factory` here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tracing.models import ModelPair
from tracing.moment import STAGES
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath
from workbench.fused.path import make_path

Act = Callable[[Callable[..., Any], tuple[Any, ...]], Any]
"""Given the sound member and what it is called with, does something and returns something."""
WINDOWS = ("kv_rows", "kv_lengths", "snapshot")


@dataclass
class Placed:
    """What misbehaves, from which call on."""

    member: str
    act: Act
    from_call: int = 1


placed: list[Placed] = []
"""The misbehaviour of the next run; one or none."""


def factory(pair: ModelPair, settings: DecodeSettings, *, device: str, dtype: str) -> DecodePath:
    """See `tracing.stages.PathFactory`."""
    path = make_path(pair, settings, device="cpu", dtype=dtype)
    for one in placed:
        path = spoiled(path, one)
    return path


def spoiled(path: DecodePath, one: Placed) -> DecodePath:
    """Return the path with one member that misbehaves."""
    owner: Any = path.stages if one.member in STAGES else path
    sound, calls = getattr(owner, one.member), [0]

    def misbehaves(*given: Any) -> Any:
        calls[0] += 1
        return sound(*given) if calls[0] < one.from_call else one.act(sound, given)

    changed = replace(owner, **{one.member: misbehaves})
    return replace(path, stages=changed) if one.member in STAGES else changed
