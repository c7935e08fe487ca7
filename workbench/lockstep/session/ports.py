"""A user's own path: its factory is imported and called; what it made must be a path that can be judged."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Any, Final, cast

from tracing.columns import COLUMN_BY_NAME
from tracing.errors import SpecwbError, UsageError
from tracing.models import ModelPair
from tracing.moment import STAGES
from tracing.settings import DecodeSettings
from tracing.stages import DecodePath, PathFactory, Stages
from workbench.lockstep.engine.user_code import UserCode, UserCodeError

NEEDS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "prefill": (),
    "draft": (("prefill",), ("commit", "accept")),
    "tensorize": (),
    "verify": (("prefill",), ("commit", "accept")),
    "accept": (),
    "commit": (("prefill",), ("draft", "verify")),
}
"""What a stage of a partial port needs beside it: one stage out of each group. Draft and verify read a state
that only prefill fills and only commit (or accept, in a port that commits there) moves on; commit moves what
draft or verify keep. Tensorize and accept are functions of their arguments."""
WHY: Final = {
    ("prefill",): "its state would never be told the prompt",
    ("commit", "accept"): "its state would never be told what was accepted",
    ("draft", "verify"): "there is nothing that it could commit",
}
"""Why a group is needed, as the rest of a sentence."""


def build_port(
    name: str,
    pair: ModelPair,
    settings: DecodeSettings,
    user_code: UserCode,
    *,
    device: str,
    dtype: str,
    eager: Set[str] = frozenset(),
) -> DecodePath:
    """Build a user's path by its `package.module:factory` name.

    Args:
        name: Of the factory.
        pair: Both models.
        settings: How to decode.
        user_code: Calls the factory.
        device: Of the path, as dtype.
        dtype: As asked for.
        eager: Operators to run eagerly, passed on to a factory that takes `eager`.

    Raises:
        SpecwbError: There is no such factory, it raised, or it made no path that can be judged; or operators
            are to be eager and it takes no `eager`.
    """
    try:
        factory = user_code.build(name, load_factory, name)
        more: dict[str, Any] = {"eager": frozenset(eager)} if eager else {}
        if more and not takes_eager(factory):
            raise UsageError(
                f"--fused {name} takes no keyword argument eager, so no operator of it can be made eager"
            )
        build = partial(cast("Callable[..., object]", factory), pair, settings, device=device, dtype=dtype)
        made = user_code.build(name, partial(build, **more))
        return user_code.build(name, checked_path, name, made)
    except UserCodeError as error:
        if isinstance(error.__cause__, SpecwbError):
            raise error.__cause__ from None
        raise UsageError("; in ".join([f"--fused {error}", *error.frames])) from error


def load_factory(name: str) -> PathFactory:
    """Import a `tracing.stages.PathFactory` by its `package.module:factory` name.

    The current folder is searched last, so that nothing in it shadows an installed package.

    Raises:
        UsageError: No such module or attribute, or it cannot be called.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"--fused should be package.module:factory, got {name!r}")
    if os.getcwd() not in sys.path:  # noqa: PTH109  sys.path holds text
        sys.path.append(os.getcwd())  # noqa: PTH109
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(f"--fused {name}: cannot import {module_name} ({error})") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise UsageError(f"--fused {name}: {module_name} has no callable {attribute}")
    return cast("PathFactory", factory)


def takes_eager(factory: Callable[..., Any]) -> bool:
    """Return whether a factory takes the operators to run eagerly, as keyword argument `eager`."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False
    return "eager" in parameters


def checked_path(name: str, path: object) -> DecodePath:
    """Return `path` if a factory really made a `DecodePath` whose stages make sense together.

    Raises:
        UsageError: It made something else.
    """
    if not isinstance(path, DecodePath):
        raise UsageError(f"--fused {name} should return tracing.stages.DecodePath, got {type(path).__name__}")
    for attribute, expected, fits in _members(path):
        if not fits:
            came = type(getattr(path, attribute)).__name__
            raise UsageError(f"--fused {name}: {attribute} of the path should be {expected}, got {came}")
    _require_sensible(name, path.stages)
    unknown = sorted(set(path.lacks).difference(COLUMN_BY_NAME))
    if unknown:
        raise UsageError(f"--fused {name}: lacks should name trace columns, got {unknown[0]!r}")
    return path


def _members(path: DecodePath) -> list[tuple[str, str, bool]]:
    """Return each member of a path: its name, what it should be, and whether it is."""
    optional = ("chooser", "kv_rows", "kv_lengths", "snapshot", "static_inputs", "intermediates")
    own = [getattr(path.stages, stage, 0) for stage in STAGES]
    return [
        ("name", "text", isinstance(path.name, str)),
        ("stages", "Stages of callables", all(map(_callable_or_none, own))),
        ("begin", "callable", callable(path.begin)),
        *((each, "callable, or None", _callable_or_none(getattr(path, each))) for each in optional),
        ("lacks", "a set of column names", _is_set_of_text(path.lacks)),
        ("info", "plain data by name, as JSON has it", _is_plain(path.info)),
    ]


def _require_sensible(name: str, stages: Stages) -> None:
    own = [stage for stage in STAGES if getattr(stages, stage) is not None]
    if not own:
        raise UsageError(f"--fused {name} returned a path without a single stage; nothing could be checked")
    for stage in own:
        for group in NEEDS[stage]:
            if not set(group).intersection(own):
                raise UsageError(
                    f"--fused {name} has {stage} and no {' or '.join(group)}: {WHY[group]}; "
                    f"add {group[0]}, or leave {stage} to the reference"
                )


def _callable_or_none(value: object) -> bool:
    return value is None or callable(value)


def _is_set_of_text(value: Any) -> bool:
    return isinstance(value, (set, frozenset, list, tuple)) and all(isinstance(each, str) for each in value)


def _is_plain(info: Any) -> bool:
    if not isinstance(info, Mapping):
        return False
    sizes = (info.get("kv_capacity"), info.get("num_slots"))
    try:
        json.dumps(dict(info), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return all(each is None or type(each) is int for each in sizes)
