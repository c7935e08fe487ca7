"""Effective rotary parameters of a config, from the keys of transformers 5 and of older versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tracing.errors import CheckpointError
from tracing.models import RopeConfig
from workbench.checkpoints.config_values import real

DEFAULT_THETA: Final = 10000.0
KINDS: Final = ("default", "linear", "dynamic", "yarn", "llama3")
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Keys without which a kind of scaling has no meaning."""


def rope_from_config(config: Mapping[str, Any]) -> RopeConfig:
    """Return what the rotary embedding will really do.

    `rope_parameters` (transformers 5) wins over `rope_theta` and `rope_scaling` (older); where both are
    present and disagree the checkpoint is refused, because readers of one key and of the other would differ.

    Raises:
        CheckpointError: Unknown kind, a missing scaling key, partial rotation, or contradicting keys.
    """
    block = _mapping(config, "rope_parameters")
    scaling = _mapping(config, "rope_scaling")
    if any(isinstance(value, Mapping) for value in block.values()):
        raise CheckpointError("config.json: rope_parameters differ per layer type, which is not supported")
    chosen = dict(block or scaling)
    theta = real(chosen, "rope_theta", real(config, "rope_theta", DEFAULT_THETA))
    if block and config.get("rope_theta") is not None and real(config, "rope_theta", theta) != theta:
        raise CheckpointError(
            f"config.json: rope_theta is {config['rope_theta']} but rope_parameters says {theta}"
        )
    kind = _kind(chosen)
    if block and scaling and _kind(scaling) != kind:
        raise CheckpointError(
            f"config.json: rope_scaling says {_kind(scaling)!r} but rope_parameters says {kind!r}"
        )
    _refuse_partial(config, chosen)
    for key in NEEDS.get(kind, ()):
        if key not in chosen:
            raise CheckpointError(f"config.json: rope kind {kind!r} needs {key}, which is missing")
    extra = {key: value for key, value in chosen.items() if key not in ("rope_theta", "rope_type", "type")}
    return RopeConfig(theta=theta, kind=kind, parameters=extra)


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise CheckpointError(f"config.json: {key} should be an object or null, got {value!r}")
    return value


def _kind(block: Mapping[str, Any]) -> str:
    kind = block.get("rope_type", block.get("type", "default"))
    kind = "default" if kind is None else kind
    if kind not in KINDS:
        raise CheckpointError(f"config.json: rope kind should be one of {', '.join(KINDS)}, got {kind!r}")
    return str(kind)


def _refuse_partial(config: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    for holder in (config, chosen):
        factor = holder.get("partial_rotary_factor")
        if factor not in (None, 1, 1.0):
            raise CheckpointError(
                f"config.json: partial_rotary_factor {factor} is not supported (whole head only)"
            )
