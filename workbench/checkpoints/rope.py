"""Effective rotary parameters of a config, from the keys of transformers 5 and of older versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tracing.errors import CheckpointError
from tracing.models import RopeConfig
from workbench.checkpoints.config_values import block, flag, real, whole
from workbench.checkpoints.json_text import shown

DEFAULT_THETA: Final = 10000.0
KINDS: Final = ("default", "linear", "dynamic", "yarn", "llama3")
MROPE: Final = "mrope"
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Keys without which a kind of scaling has no meaning."""
NUMBERS: Final = frozenset(
    {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings", "beta_fast"}
    | {"beta_slow", "mscale", "mscale_all_dim", "attention_factor"}
)
TYPELESS: Final = frozenset({"rope_theta", "partial_rotary_factor", "mrope_section", "mrope_interleaved"})
"""Keys that mean something without a kind."""
KNOWN: Final = NUMBERS | TYPELESS | {"rope_type", "type", "truncate"}
HOLDERS: Final = ("rope_parameters", "rope_scaling")


def rope_from_config(config: Mapping[str, Any]) -> RopeConfig:
    """Return what the rotary embedding will really do.

    `rope_parameters` (transformers 5) wins over `rope_theta` and `rope_scaling` (older); where both are
    present and disagree the checkpoint is refused, because readers of one key and of the other would differ.
    Sections of several positions (`mrope`) are the default rope here: a text has three equal positions.

    Raises:
        CheckpointError: Unknown kind, a missing or impossible scaling key, partial rotation, or
            contradicting keys.
    """
    parameters, scaling = block(config, "rope_parameters"), block(config, "rope_scaling")
    if any(isinstance(value, Mapping) for value in parameters.values()):
        raise CheckpointError("config.json: rope_parameters differ per layer type, which is not supported")
    chosen = dict(parameters or scaling)
    theta = real(chosen, "rope_theta", real(config, "rope_theta", DEFAULT_THETA))
    if parameters and config.get("rope_theta") is not None and real(config, "rope_theta", theta) != theta:
        raise CheckpointError(
            f"config.json: rope_theta is {shown(config['rope_theta'])} but rope_parameters says {theta}"
        )
    kind = _kind(chosen)
    if parameters and scaling and _kind(scaling) != kind:
        raise CheckpointError(
            f"config.json: rope_scaling says {_kind(scaling)!r} but rope_parameters says {kind!r}"
        )
    _refuse_partial(config, chosen)
    return RopeConfig(theta=theta, kind=kind, parameters=_parameters(kind, chosen, config))


def uses_sections(config: Mapping[str, Any]) -> bool:
    """Tell whether a config has the positions of images and videos, which are equal in a text."""
    return any("mrope_section" in holder or _written_kind(holder) == MROPE for holder in _holders(config))


def unknown_rope_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return keys of the rotary parameters that nothing here reads."""
    return tuple(
        f"{name}.{key if key.isprintable() and len(key) < 60 else shown(key)}"
        for name in HOLDERS
        for key, value in block(config, name).items()
        if key not in KNOWN and value is not None
    )


def _holders(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    return tuple(block(config, name) for name in HOLDERS)


def _written_kind(holder: Mapping[str, Any]) -> object:
    kind = holder.get("rope_type", holder.get("type"))
    return holder.get("type") if kind is None else kind


def _kind(holder: Mapping[str, Any]) -> str:
    kind = _written_kind(holder)
    if kind is None:
        scaled = sorted(key for key, value in holder.items() if key not in TYPELESS and value is not None)
        if scaled:
            raise CheckpointError(
                f"config.json: the rotary parameters have {shown(scaled[0])} but no rope_type; "
                f"expected one of {', '.join(KINDS)}"
            )
        return "default"
    if kind == MROPE:
        return "default"
    if kind not in KINDS:
        raise CheckpointError(
            f"config.json: rope kind should be one of {', '.join(KINDS)}, got {shown(kind)}"
        )
    return str(kind)


def _parameters(kind: str, chosen: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    if kind != "default" and "mrope_section" in chosen:
        raise CheckpointError(f"config.json: rope kind {kind!r} together with mrope_section is not supported")
    if chosen.get("alpha") is not None:
        raise CheckpointError(
            f"config.json: the rotary parameters have alpha {shown(chosen['alpha'])}: some readers scale "
            "rope_theta by it, others ignore it; write the resulting rope_theta instead"
        )
    for key in NEEDS.get(kind, ()):
        if chosen.get(key) is None:
            raise CheckpointError(f"config.json: rope kind {kind!r} needs {key}, which is missing")
    for key in NUMBERS & chosen.keys():
        real(chosen, key, 1.0)
    flag(chosen, "truncate", True)
    if kind == "llama3" and chosen["low_freq_factor"] >= chosen["high_freq_factor"]:
        raise CheckpointError("config.json: rope kind 'llama3' needs low_freq_factor below high_freq_factor")
    left_out = {"rope_theta", "rope_type", "type", "mrope_section", "mrope_interleaved"}
    extra = {key: value for key, value in chosen.items() if key not in left_out}
    if kind == "yarn" and extra.get("original_max_position_embeddings") is None:
        extra["original_max_position_embeddings"] = whole(config, "max_position_embeddings", 2048)
    return extra


def _refuse_partial(config: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    for holder in (config, chosen):
        factor = holder.get("partial_rotary_factor")
        if factor is not None and (isinstance(factor, bool) or factor != 1):
            raise CheckpointError(
                f"config.json: partial_rotary_factor {shown(factor)} is not supported (whole head only)"
            )
